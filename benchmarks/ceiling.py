"""The ceiling of serving: latents, forward at the fixed batch, PNG, in a plain loop in one process.

Prints images/s and the processor time of one image as JSON; what no server in one thread can pass.
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
    """Run for so many seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1, help="torch threads of a forward; a service has 1")
    arguments = parser.parse_args()
    torchscript.THREADS = arguments.threads
    torch.set_num_threads(arguments.threads)
    sampler = artifact.load(arguments.artifact, resolve_device("auto"))
    size = sampler.batch_size
    forward_s, started, cpu, index = 0.0, time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < arguments.seconds:
        addresses = sampler.manifest.addresses(0, index, size)
        before = time.perf_counter()
        pixels = sampler.mint(addresses)
        forward_s += time.perf_counter() - before
        for address, image in zip(addresses, pixels):
            images.encode(image, "image/png", str(address))
        index += size
    elapsed = time.perf_counter() - started
    rows = {"per_s": index / elapsed, "cpu_ms": (time.process_time() - cpu) / index * 1000}
    print(json.dumps({**rows, "batch_ms": forward_s / (index / size) * 1000, "batch_size": size}))


if __name__ == "__main__":
    main()
