"""What a user would write to make a data set: batch 64, torch.randn, PIL.

No address, no marks, no resuming; one process, torch's own number of threads. Prints images/s.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import torch
from PIL import Image

from models.manifest import read_manifest


def main() -> None:
    """Save images for so many seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.artifact)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generator = torch.jit.load(str(arguments.artifact / "generator.ts")).eval()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    count, started = 0, 0.0
    while not started or time.perf_counter() - started < arguments.seconds:
        labels = torch.arange(count, count + 64) % len(manifest.class_names)
        with torch.no_grad():
            images = generator(torch.randn(64, manifest.latents.z_dim), torch.eye(len(manifest.class_names))[labels])
        for image, label in zip(((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8), labels):
            folder = arguments.out / manifest.class_names[int(label)]
            folder.mkdir(exist_ok=True)
            array = image.permute(1, 2, 0).numpy()
            Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(folder / f"{count}.png")
            count += 1
        if not started:
            # The first batches compile.
            count, started = 0, time.perf_counter()
    print(count / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
