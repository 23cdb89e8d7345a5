"""Compare ways of writing PNG files: processor time and size, each against Pillow's default in the same round.

    python -m benchmarks.encode --rounds 7

The pictures are the goldens of the bundled models, and a grid of 64 samples of each. isal and zlib-ng are measured
where they are installed.
"""

from __future__ import annotations

import argparse
import importlib
import io
import math
import statistics
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

import models
from models import images, png

PRETRAINED = Path(models.__file__).parent / "pretrained"
GRID_IMAGES = 64
# Processor time of one measurement of one way on one kind of picture.
MEASURE_S = 0.05
REFERENCE = "Pillow 6"
FILTERS = ("none", "sub", "up")
Pixels = NDArray[np.uint8]
Encoder = Callable[[Pixels], bytes]


def load_pictures() -> dict[str, list[Pixels]]:
    """Return pictures, each uint8 (H, W, C), by kind."""
    pictures: dict[str, list[Pixels]] = {}
    for name in sorted(path.parent.name for path in PRETRAINED.glob("*/golden.npz")):
        with np.load(PRETRAINED / name / "golden.npz") as archive:
            pixels = archive["pixels"]
        pictures[name] = list(pixels)
        height, width, channels = pixels.shape[1:]
        samples = np.asarray(Image.open(PRETRAINED / name / "samples.png"))
        samples = samples.reshape(samples.shape[0] // height, height, -1, width, channels)
        tiles = samples.swapaxes(1, 2).reshape(-1, height, width, channels)
        grid = images.grid(np.resize(tiles, (GRID_IMAGES, height, width, channels)), math.isqrt(GRID_IMAGES))
        pictures[f"{name}, grid of {GRID_IMAGES}"] = [grid]
    return pictures


def filter_rows(pixels: Pixels, name: str) -> bytes:
    """Return the rows, each behind the number of its filter (PNG, section 9.2)."""
    height, width, channels = pixels.shape
    samples = pixels.reshape(height, -1)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = FILTERS.index(name)
    rows[:, 1:] = samples
    if name == "sub":
        rows[:, 1 + channels :] -= samples[:, :-channels]
    elif name == "up":
        rows[1:, 1:] -= samples[:-1]
    return rows.tobytes()


def encode_by_pillow(pixels: Pixels, level: int) -> bytes:
    """Encode with the filters that Pillow chooses row by row."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def encode_by_hand(pixels: Pixels, filter_name: str, library: Any, level: int) -> bytes:
    """Encode with one filter for all rows and any library that has zlib's interface."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    data = library.compress(filter_rows(pixels, filter_name), level)
    chunks = [png.make_chunk(b"IHDR", header), png.make_chunk(b"IDAT", data), png.make_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def list_encoders() -> dict[str, Encoder]:
    """Return the ways to be compared, by name."""
    encoders: dict[str, Encoder] = {}
    for level in (6, 3, 1):
        encoders[f"Pillow {level}"] = lambda pixels, level=level: encode_by_pillow(pixels, level)  # type: ignore[misc]
    libraries: list[tuple[str, Any, tuple[int, ...]]] = [("zlib", zlib, (1, 2, 3, 6))]
    others = (("isal", "isal.isal_zlib", (0, 1, 2)), ("zlib-ng", "zlib_ng.zlib_ng", (1, 3, 6)))
    for package, module, its_levels in others:
        try:
            libraries.append((package, importlib.import_module(module), its_levels))
        except ImportError:
            print(f"{package} is not installed and is left out: pip install {package}")
    for name, library, levels in libraries:
        for level in levels:
            for filter_name in FILTERS:
                encoders[f"{name} {level}, {filter_name}"] = (
                    lambda pixels, f=filter_name, lib=library, level=level: encode_by_hand(pixels, f, lib, level)  # type: ignore[misc]
                )
    encoders["models.png"] = png.encode_png
    return encoders


def measure_cpu_us(encode: Encoder, pictures: list[Pixels]) -> float:
    """Return the processor time of one picture, in microseconds."""
    count = 0
    start_s = time.process_time()
    elapsed_s = 0.0
    while elapsed_s < MEASURE_S:
        for pixels in pictures:
            encode(pixels)
        count += len(pictures)
        elapsed_s = time.process_time() - start_s
    return elapsed_s / count * 1e6


def check(encode: Encoder, pictures: list[Pixels]) -> None:
    """Check that Pillow reads each picture back as it was."""
    for pixels in pictures:
        decoded = np.asarray(Image.open(io.BytesIO(encode(pixels)))).reshape(pixels.shape)
        assert (decoded == pixels).all()


def compare(kind: str, pictures: list[Pixels], encoders: dict[str, Encoder], rounds: int) -> None:
    """Print one row per way: microseconds, and time and size as shares of the reference's."""
    times: dict[str, list[float]] = {name: [] for name in encoders}
    sizes: dict[str, float] = {}
    for name, encode in encoders.items():
        check(encode, pictures)
        sizes[name] = statistics.mean(len(encode(pixels)) for pixels in pictures)
    for _ in range(rounds):
        for name, encode in encoders.items():
            times[name].append(measure_cpu_us(encode, pictures))
    print(f"\n{kind}: {len(pictures)} of {'x'.join(map(str, pictures[0].shape))}\n")
    print("| way | CPU us | of Pillow 6 | bytes | of Pillow 6 |\n| --- | --- | --- | --- | --- |")
    for name in encoders:
        ratio = statistics.median(own / reference for own, reference in zip(times[name], times[REFERENCE]))
        size = sizes[name] / sizes[REFERENCE]
        print(f"| {name} | {statistics.median(times[name]):.1f} | {ratio:.2f} | {sizes[name]:.0f} | {size:.2f} |")


def main() -> None:
    """Measure every way on every kind of picture."""
    parser = argparse.ArgumentParser(description="Compare ways of writing PNG files.")
    parser.add_argument("--rounds", type=int, default=5, help="of which the medians are taken")
    rounds = parser.parse_args().rounds
    print(f"Pillow {PIL.__version__}, zlib {zlib.ZLIB_RUNTIME_VERSION}, NumPy {np.__version__}; without marks")
    encoders = list_encoders()
    for kind, pictures in load_pictures().items():
        compare(kind, pictures, encoders, rounds)


if __name__ == "__main__":
    main()
