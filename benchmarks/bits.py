"""Prints a hash of the floats of 16 fixed addresses of each bundled model: which machines make the same bits?

Run it on each machine, or under an emulated processor (qemu-user):

    python -m benchmarks.bits
    qemu-x86_64 -cpu Nehalem .venv/bin/python -m benchmarks.bits

Equal hashes mean equal bits. The last line says how far the model's golden samples are from their pixels.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

from models import artifact, goldens, images
from models.artifact_files import ONNX_FILE
from models.runtime.onnx import OnnxRuntime
from models.sampler import Sampler
from models.store import list_bundled

ADDRESSES = 16


def main() -> None:
    """Print the fingerprint and the hashes of each bundled model."""
    for folder in list_bundled():
        _print_hashes(folder)


def _print_hashes(folder: Path) -> None:
    files = artifact.read(folder)
    manifest = files.manifest
    runtime = OnnxRuntime(files.get(ONNX_FILE), folder / ONNX_FILE, manifest, threads=1)
    sampler = Sampler(runtime, manifest)
    addresses = manifest.addresses(seed=0, n=ADDRESSES, labels="balanced")
    z, class_weights = sampler.draw_inputs(addresses)
    floats = np.concatenate([runtime.run_float(z[k : k + 1], class_weights[k : k + 1], False) for k in range(len(z))])
    pixels = sampler.mint(addresses)
    encoded = b"".join(images.encode(image, "image/png", str(a)) for a, image in zip(addresses, pixels))
    print(f"{manifest.name} {manifest.version} on {sampler.fingerprint}")
    for name, data in (
        ("latents", z.tobytes()),
        ("floats", floats.tobytes()),
        ("pixels", pixels.tobytes()),
        ("PNG", encoded),
    ):
        print(f"  {name:8} {hashlib.sha256(data).hexdigest()[:16]}")
    worst = goldens.check_goldens(sampler, files)
    print(f"  goldens  off by {worst} of 255")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
