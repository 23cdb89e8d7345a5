"""Measures the ceiling of serving: latents, forward at the fixed batch, PNG, in a plain loop in one process.

No server with one thread can be faster. Prints images/s and the processor time of one image as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from models import artifact, images
from models.runtime import torchscript
from models.runtime.loading import resolve_device


def main() -> None:
    """Run for `--seconds` and print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1, help="torch threads of a forward; a service has 1")
    arguments = parser.parse_args()
    torchscript.THREADS = arguments.threads
    torch.set_num_threads(arguments.threads)
    sampler = artifact.load(arguments.artifact, resolve_device("auto"))
    size = sampler.batch_size
    forward_s = 0.0
    index = 0
    started_at = time.perf_counter()
    cpu_started_at = time.process_time()
    while time.perf_counter() - started_at < arguments.seconds:
        addresses = sampler.manifest.addresses(0, index, size)
        forward_started_at = time.perf_counter()
        pixels = sampler.mint(addresses)
        forward_s += time.perf_counter() - forward_started_at
        for address, image in zip(addresses, pixels):
            images.encode(image, "image/png", str(address))
        index += size
    elapsed_s = time.perf_counter() - started_at
    rows = {"per_s": index / elapsed_s, "cpu_ms": (time.process_time() - cpu_started_at) / index * 1000}
    print(json.dumps({**rows, "batch_ms": forward_s / (index / size) * 1000, "batch_size": size}))


if __name__ == "__main__":
    main()
