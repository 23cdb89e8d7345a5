"""Minting on a GPU: images/s at several batch sizes, and what share of the card's float32 peak that is.

Run: python -m benchmarks.gpu.mint [--device cuda]. Per generator (digits, and an untrained one of the
size of 64x64 RGB faces) and batch size: images/s of `Sampler.mint` (latents, copies, forward, pixels),
images/s of the forward alone, its floating-point operations, and their rate against a large float32
matrix product on the same device without TF32. On a CPU it runs as well, at small sizes.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.models import FACES_SIZED, export
from models import artifact, store
from models.network_config import GeneratorConfig
from models.networks import build_generator
from models.runtime.torchscript import TorchRuntime
from models.sampler import Sampler

SIZES = {"cuda": (16, 64, 256, 1024), "cpu": (4, 16, 64)}
PEAK_SIDE = {"cuda": 8192, "cpu": 1024}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU, 1 thread"
    peak = _peak_flops(device, arguments.seconds)
    print(f"{name}, torch {torch.__version__}; float32 matrix product: {peak / 1e12:.2f} TFLOP/s")
    print(f"{'generator':14}{'batch':>7}{'minted/s':>12}{'forward/s':>12}{'MFLOP/image':>13}{'of peak':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for path in (store.BUNDLED / "digits", export("faces-sized", FACES_SIZED, Path(folder))):
            loaded = artifact.load(path, arguments.device, runtime="torchscript")
            flops = _flops(loaded)
            for size in SIZES[device.type]:
                sampler = Sampler(
                    TorchRuntime(_runtime(loaded).generator, loaded.manifest, arguments.device, size), loaded.manifest
                )
                addresses = sampler.manifest.addresses(seed=0, n=size)
                minted = size * _per_second(partial(sampler.mint, addresses), device, arguments.seconds)
                forward = size * _per_second(_forward_alone(sampler), device, arguments.seconds)
                share = forward * flops / peak
                print(
                    f"{sampler.manifest.name:14}{size:7}{minted:12.0f}{forward:12.0f}{flops / 1e6:13.1f}{share:9.1%}",
                    flush=True,
                )


def _runtime(sampler: Sampler) -> TorchRuntime:
    assert isinstance(sampler.runtime, TorchRuntime)
    return sampler.runtime


def _forward_alone(sampler: Sampler) -> Callable[[], object]:
    """The captured graph on a GPU, the plain forward elsewhere; inputs already there."""
    runtime = _runtime(sampler)
    if runtime._graph is not None:
        return runtime._graph._graph.replay
    z = torch.zeros(sampler.batch_size, sampler.manifest.latents.z_dim, device=sampler.device)
    class_weights = torch.zeros(sampler.batch_size, len(sampler.manifest.class_names), device=sampler.device)

    def forward() -> object:
        with torch.inference_mode():
            return runtime.generator(z, class_weights)

    return forward


def _flops(sampler: Sampler) -> float:
    """Floating-point operations of one image; a multiplication and its addition are two."""
    config = GeneratorConfig.model_validate(sampler.manifest.network)
    with FlopCounterMode(display=False) as counter:
        build_generator(config)(torch.zeros(1, config.z_dim), torch.zeros(1, config.num_classes))
    return float(counter.get_total_flops())


def _peak_flops(device: torch.device, seconds: float) -> float:
    torch.backends.cuda.matmul.allow_tf32 = False
    side = PEAK_SIDE[device.type]
    a = torch.randn(side, side, device=device)
    return 2 * side**3 * _per_second(lambda: a @ a, device, seconds)


def _per_second(what: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls per second, everything on the device finished."""
    for _ in range(10):
        what()
    _finish(device)
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(5):
            what()
        _finish(device)
        calls += 5
    return calls / (time.perf_counter() - started)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
