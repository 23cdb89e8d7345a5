"""Read IDX files, the format of MNIST."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.allocation import allocate, fill
from training.data.dataset import Dataset, number_classes

TRAIN_IMAGES = "train-images-idx3-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
# Deflate cannot compress by more (zlib.net, "Maximum Compression Factor").
GZIP_MAX_RATIO = 1032


def read_idx_dataset(path: Path) -> Dataset:
    """Read an IDX file of images and the labels file that MNIST's naming puts beside it.

    Args: path, the file of images, with or without .gz.
    Raises: DataError naming the file at fault; OSError.
    """
    path = plain_or_gzipped(path)
    name = path.name.removesuffix(".gz")
    _, labels_name = _files(name)
    if labels_name == name:
        raise DataError(path, "is not named like images-idx3-ubyte; give the file of images")
    labels_path = plain_or_gzipped(path.with_name(labels_name))
    images = read_idx(path)
    if images.ndim != 3 or 0 in images.shape:
        raise DataError(path, f"holds an array of shape {images.shape}, not images (N, H, W)")
    labels = read_idx(labels_path)
    if labels.shape != images.shape[:1]:
        raise DataError(labels_path, f"has labels of shape {labels.shape} for the {len(images)} images of {path.name}")
    numbers, class_names = number_classes(labels.astype(np.int64))
    return Dataset(path.name, images[..., np.newaxis], numbers, class_names, _list_unused(path.parent))


def _list_unused(folder: Path) -> tuple[str, ...]:
    """List what a folder holds beside MNIST's four files; one with .gz beside the plain one is the same file."""
    used = {*_files(TRAIN_IMAGES), *_files(TEST_IMAGES)}
    return tuple(sorted(file.name for file in folder.iterdir() if file.name.removesuffix(".gz") not in used))


def _files(images_name: str) -> tuple[str, str]:
    return images_name, images_name.replace("images", "labels").replace("idx3", "idx1")


def plain_or_gzipped(path: Path) -> Path:
    """Return the path itself or the path with .gz, whichever exists.

    Raises: DataError when neither does.
    """
    gzipped = path.with_name(path.name.removesuffix(".gz") + ".gz")
    if path.is_file():
        return path
    if gzipped.is_file():
        return gzipped
    raise DataError(path, f"is missing, and so is {gzipped.name}; add one of them")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, plain or gzipped.

    Format: two zero bytes, type 0x08, the number of dimensions, each dimension as a big-endian
    uint32, then the data (yann.lecun.com/exdb/mnist, "the IDX file format").

    Returns: uint8 of the shape that the header states.
    Raises: DataError when the file is damaged; OSError when it cannot be opened.
    """
    with path.open("rb") as file:
        is_gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        limit = path.stat().st_size * (GZIP_MAX_RATIO if is_gzipped else 1)
        try:
            return _read_stream(path, cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_gzipped else file, limit)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(path, f"is a damaged gzip file ({error}); fetch it again") from None


def _read_stream(path: Path, stream: BinaryIO, limit: int) -> NDArray[np.uint8]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:3] != b"\x00\x00\x08":
        raise DataError(path, "is not an IDX file of unsigned bytes")
    dimensions = magic[3]
    header = stream.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(path, "is truncated inside its header; fetch it again")
    shape = struct.unpack(f">{dimensions}I", header)
    expected = math.prod(shape)
    if expected > limit:
        raise DataError(path, f"is truncated: too short for the {expected} bytes that its header states")
    array = allocate(shape, path)
    size = fill(array, stream)
    if size < expected:
        raise DataError(path, f"is truncated: {size} bytes of data, its header states {expected}; fetch it again")
    if stream.read(1):
        raise DataError(path, f"is too long: more data than the {expected} bytes that its header states")
    return array
