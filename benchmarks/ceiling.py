"""Measures the ceiling of serving: latents, forward in full batches, PNG, in a plain loop in one process.

Prints images/s and the processor time of one image as JSON. --find-batch-size prints instead the batch size at which
ONNX Runtime takes the least processor time; TorchScript always runs at the manifest's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from models import artifact, images
from models.runtime.loading import resolve_device
from models.runtime.onnx import OnnxRuntime
from models.sampler import Sampler

BATCH_SIZES = (4, 8, 16, 32, 64)
FIND_ROUNDS = 5
FIND_S = 0.15


def main() -> None:
    """Run for `--seconds` and print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--runtime", choices=["auto", "onnx", "torchscript"], default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch-size", type=int, help="of ONNX Runtime, instead of the manifest's")
    parser.add_argument("--find-batch-size", action="store_true", help="find the best one instead")
    parser.add_argument("--threads", type=int, default=1, help="of a forward by TorchScript; a service has 1")
    arguments = parser.parse_args()
    sampler = artifact.load(arguments.artifact, resolve_device(arguments.device), arguments.runtime)
    if isinstance(sampler.runtime, OnnxRuntime):
        if arguments.threads > 1:
            parser.error("--threads is for --runtime torchscript")
        if arguments.find_batch_size:
            cpu_ms = _measure_batch_sizes(sampler, sampler.runtime)
            print(json.dumps({"batch_size": min(cpu_ms, key=lambda size: cpu_ms[size]), "cpu_ms": cpu_ms}))
            return
        sampler.runtime.batch_size = arguments.batch_size or sampler.runtime.batch_size
    else:
        if arguments.batch_size or arguments.find_batch_size:
            parser.error("TorchScript runs at the manifest's batch size")
        _set_threads(arguments.threads)
    print(json.dumps(run_loop(sampler, arguments.seconds)))


def run_loop(sampler: Sampler, seconds: float) -> dict[str, float]:
    """Make images for some seconds in full batches.

    Returns: per_s (images a second), cpu_ms (processor time of an image), batch_ms (a forward), batch_size.
    """
    size = sampler.batch_size
    forward_s = 0.0
    index = 0
    started_at = time.perf_counter()
    cpu_started_at = time.process_time()
    while time.perf_counter() - started_at < seconds:
        addresses = sampler.manifest.addresses(0, index, size)
        forward_started_at = time.perf_counter()
        pixels = sampler.mint(addresses)
        forward_s += time.perf_counter() - forward_started_at
        for address, image in zip(addresses, pixels):
            images.encode(image, "image/png", str(address))
        index += size
    elapsed_s = time.perf_counter() - started_at
    cpu_ms = (time.process_time() - cpu_started_at) / index * 1000
    return {
        "per_s": index / elapsed_s,
        "cpu_ms": cpu_ms,
        "batch_ms": forward_s / (index / size) * 1000,
        "batch_size": size,
    }


def _measure_batch_sizes(sampler: Sampler, runtime: OnnxRuntime) -> dict[int, float]:
    """Return the processor time of an image in ms by batch size, medians of interleaved rounds."""
    cpu_ms: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}
    for _ in range(FIND_ROUNDS):
        for size in BATCH_SIZES:
            runtime.batch_size = size
            cpu_ms[size].append(run_loop(sampler, FIND_S)["cpu_ms"])
    return {size: statistics.median(values) for size, values in cpu_ms.items()}


def _set_threads(threads: int) -> None:
    import torch

    from models.runtime import torchscript

    torchscript.THREADS = threads
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
