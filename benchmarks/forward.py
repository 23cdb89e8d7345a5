"""Measure what generators cost: size, operations, and images/s on one thread.

Run: python -m benchmarks.forward models/pretrained/digits runs/mine ... Takes artifact folders and runs; a
run's generator is exported to a temporary folder first. Rounds are interleaved; ratios are relative to the
first generator of the same round.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.servers import get_cpu_name
from models import artifact
from models.manifest import MANIFEST_FILE
from models.network_config import GeneratorConfig
from models.networks import build_generator
from models.sampler import Sampler
from training.runs import trained_run


def main() -> None:
    """Print a row for each generator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", nargs="+", type=Path, metavar="RUN-or-ARTIFACT")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary_dir:
        folders = [_artifact(path, Path(temporary_dir) / str(k)) for k, path in enumerate(arguments.generators)]
        samplers = [artifact.load(folder) for folder in folders]
        rounds = [[_images_per_second(s, arguments.seconds) for s in samplers] for _ in range(arguments.rounds)]
        print(f"{get_cpu_name()}, one thread, Python {platform.python_version()}, torch {torch.__version__}")
        print("| generator | widths | weights | MiB | MFLOP an image | batch | images/s | ratio |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for k, (path, folder, sampler) in enumerate(zip(arguments.generators, folders, samplers)):
            rate = statistics.median(row[k] for row in rounds)
            ratio = statistics.median(row[k] / row[0] for row in rounds)
            weights, mflop = _count_operations(sampler)
            size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
            widths = sampler.manifest.network.get("network", {}).get("widths", "")
            print(
                f"| {path.name} | {widths} | {weights:,} | {size:.1f} | {mflop:.1f} | {sampler.batch_size} "
                f"| {rate:.0f} | {ratio:.2f} |"
            )


def _artifact(path: Path, export_to: Path) -> Path:
    """Return the artifact folder that `path` is, or export the run that it is."""
    if (path / MANIFEST_FILE).is_file():
        return path
    run = trained_run.load_latest(path)
    artifact.export(run.generator, run.draft_manifest("run", "0.0.0"), export_to)
    return export_to


def _images_per_second(sampler: Sampler, seconds: float) -> float:
    """Measure latents and forward passes, as a service runs them."""
    count = 0
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < seconds:
        sampler.mint(sampler.manifest.addresses(0, count, sampler.batch_size))
        count += sampler.batch_size
    return count / (time.perf_counter() - start_s)


def _count_operations(sampler: Sampler) -> tuple[int, float]:
    """Return the number of weights, and million floating-point operations per image; a multiply-add counts as two."""
    config = GeneratorConfig.model_validate(sampler.manifest.network)
    network = build_generator(config)
    z, class_weights = torch.zeros(1, config.z_dim), torch.zeros(1, config.num_classes)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(z, class_weights)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 1e6


if __name__ == "__main__":
    main()
