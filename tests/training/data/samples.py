"""Write small data sets of each kind for the tests of their readers."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import DataError
from training.data.dataset import Dataset
from training.data.loader import load_dataset

# The classes of made-up pictures.
FINE = ("bear", "cat", "dog")


def random_pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def write_image(path: Path, array: NDArray[Any], mode: str | None = None, **options: Any) -> Path:
    """Write an array as a picture, converted to `mode` first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def write_zip(folder: Path, path: Path, method: int = zipfile.ZIP_STORED, below: str = "") -> Path:
    """A zip of a folder's files, in an order that is not sorted."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, below + file.relative_to(folder).as_posix())
    return path


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, count: int = 6, split: str = "train", packed: bool = True) -> tuple[Path, Path]:
    """MNIST's two files: random images, labels 0, 1, 2, 0, ..."""
    folder.mkdir(exist_ok=True)
    suffix = ".gz" if packed else ""
    images = folder / f"{split}-images-idx3-ubyte{suffix}"
    labels = folder / f"{split}-labels-idx1-ubyte{suffix}"
    for path, array in ((images, random_pixels(1, count, 5, 4)), (labels, np.arange(count, dtype=np.uint8) % 3)):
        path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    return images, labels


def flat_folder(folder: Path, count: int = 4) -> Path:
    for k in range(count):
        write_image(folder / f"{k}.png", random_pixels(k, 5, 4, 3))
    return folder


def class_folder(folder: Path, *shape: int) -> Path:
    for k, name in enumerate(("dog", "cat", "cat", "emu")):
        write_image(folder / name / f"{k}.png", random_pixels(k, *(shape or (5, 4, 3))))
    return folder


def mixed_folder(folder: Path) -> Path:
    write_image(folder / "a.png", random_pixels(1, 64, 48, 3))
    write_image(folder / "b.png", random_pixels(2, 20, 60, 3))
    write_image(folder / "c.png", random_pixels(3, 12, 12, 3))
    return folder


def load_error(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    return caught.value


def are_equal(a: Dataset, b: Dataset) -> bool:
    return a.digest == b.digest and np.array_equal(a.images, b.images) and a.class_names == b.class_names


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def png(seed: int, height: int = 5, width: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random_pixels(seed, height, width)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


class Made:
    """Made-up pictures with a label each, and the same in a folder with a csv."""

    def __init__(self, seed: int, count: int, side: int, names: Sequence[str] = FINE) -> None:
        self.images = random_pixels(seed, count, side, side, 3)
        self.numbers = np.random.RandomState(seed).randint(0, len(names), count)
        self.numbers[: len(names)] = range(len(names))
        self.names = names

    @property
    def planes(self) -> NDArray[np.uint8]:
        return np.reshape(self.images.transpose(0, 3, 1, 2), (len(self.images), -1))

    def folder_digest(self, folder: Path, labels: Sequence[str] | None = None) -> str:
        for k, pixels in enumerate(self.images):
            write_image(folder / f"{k:04d}.png", pixels, compress_level=0)
        if labels != []:
            texts = labels or [self.names[k] for k in self.numbers]
            with (folder / "labels.csv").open("w") as file:
                csv.writer(file).writerows([("file", "label"), *((f"{k:04d}.png", t) for k, t in enumerate(texts))])
        return load_dataset(folder).digest
