"""Read data sets from numpy's npz files: our own, and downsampled ImageNet's.

Images go from the file into their place in one array, so that a set larger than memory can be read.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from models.errors import DataError
from training.data.allocation import allocate, fill
from training.data.dataset import Dataset, number_classes

IMAGES = "images"
# Downsampled ImageNet's (Chrabaszcz et al., arXiv 1707.08819), beside the mean of all images.
PLANES, MEAN = "data", "mean"
# Where the images of an export come from.
ADDRESSES = "addresses"
# More classes are a mistake, such as an identifier for each image.
MAX_CLASSES = 65536
# Images that are read at a time.
CHUNK = 1024


class NpzContent(NamedTuple):
    """What an npz file holds.

    Attributes:
        key: of its images.
        shape: (N, H, W, C) of its images.
        labels: int64 (N,), or None.
        label_names: the name of each label, or None.
        unused: names of the other files inside.
    """

    key: str
    shape: tuple[int, int, int, int]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...] | None
    unused: tuple[str, ...]


def read_npz_dataset(path: Path) -> Dataset:
    """Read an npz file.

    Args: path, a file with `images` uint8 (N, H, W) or (N, H, W, C), C 1 or 3, and optionally
        `labels`, integers (N,), and `label_names`, text (K,). Labels that are all -1 are none, as in exports.
        Downsampled ImageNet has `data` uint8 (N, 3 * side * side) instead: a plane of red, one of green, one of blue.
    Raises: DataError for path.
    """
    return read_npz_datasets(path, [path])


def read_npz_datasets(path: Path, files: Sequence[Path]) -> Dataset:
    """Read npz files as one data set.

    Args:
        path: what the files belong to, for its name and for errors.
        files: the files, at least one, as for `read_npz_dataset`.
    Raises: DataError for the file at fault.
    """
    parts = [_read_labels(file) for file in files]
    first = parts[0]
    for file, part in zip(files, parts):
        if part.shape[1:] != first.shape[1:] or part.label_names != first.label_names:
            raise DataError(file, f"differs from {files[0].name} in the shape of its images or in its label_names")
        if (part.labels is None) != (first.labels is None):
            raise DataError(file, f"and {files[0].name} must both have labels, or none")
    images = allocate((sum(part.shape[0] for part in parts), *first.shape[1:]), path)
    row = 0
    for file, part in zip(files, parts):
        _read_images(file, part, images[row : row + part.shape[0]])
        row += part.shape[0]
    unused = tuple(dict.fromkeys(name for part in parts for name in part.unused))
    labels = [part.labels for part in parts if part.labels is not None]
    if not labels:
        return Dataset(path.name, images, unused=unused)
    return Dataset(path.name, images, *number_classes(np.concatenate(labels), first.label_names), unused)


def _read_labels(path: Path) -> NpzContent:
    """Read and check everything except for the images' pixels."""
    with _open(path) as archive:
        keys = sorted(archive)
        images_key = next((key for key in (IMAGES, PLANES) if key in keys), None)
        if images_key is None:
            found = ", ".join(keys) or "nothing"
            raise DataError(path, f"has no 'images' (found {found}); save np.savez(images=...)")
        shape = _check_images(path, images_key, *_read_header(archive, images_key))
        labels, label_names = (np.asarray(archive[key]) if key in keys else None for key in ("labels", "label_names"))
    used = {images_key, "labels", "label_names", ADDRESSES, *([MEAN] if images_key == PLANES else [])}
    unused = tuple(f"{key}.npy" for key in keys if key not in used)
    if labels is None and label_names is not None:
        raise DataError(path, "has 'label_names' but no 'labels'")
    if labels is None or (labels.shape == shape[:1] and (labels == -1).all()):
        return NpzContent(images_key, shape, None, None, unused)
    _check_labels(path, shape[0], labels, label_names)
    names = None if label_names is None else tuple(label_names.tolist())
    return NpzContent(images_key, shape, labels.astype(np.int64), names, unused)


@contextmanager
def _open(path: Path) -> Iterator[NpzFile]:
    try:
        # Unpickling can run code, so arrays of objects are refused.
        with path.open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            yield archive
    except MemoryError:
        raise DataError(path, "does not fit into memory; give a zip of images, which is mapped from disk") from None
    except (OSError, EOFError, ValueError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(path, f"is not a readable npz file without pickles ({error}); save it again") from None


def _read_header(archive: NpzFile, key: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return an array's shape, whether its first index varies fastest, and its type."""
    with _open_member(archive, key) as stream:
        return _parse_header(stream)


def _open_member(archive: NpzFile, key: str) -> IO[bytes]:
    names = archive.zip.namelist() if archive.zip else []
    return cast(zipfile.ZipFile, archive.zip).open(f"{key}.npy" if f"{key}.npy" in names else key)


def _parse_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("an array of objects, which is a pickle")
    return shape, is_fortran, dtype


def _read_images(path: Path, content: NpzContent, images: NDArray[np.uint8]) -> None:
    """Read the pixels of a file into their place, a chunk of images at a time.

    Raises: DataError for path.
    """
    with _open(path) as archive:
        with _open_member(archive, content.key) as stream:
            _, is_fortran, _ = _parse_header(stream)
            if not is_fortran:
                _read_chunks(stream, content.key == PLANES, images)
                return
        images[:] = np.asarray(archive[content.key]).reshape(images.shape)


def _read_chunks(stream: IO[bytes], are_planes: bool, images: NDArray[np.uint8]) -> None:
    count, height, width, channels = images.shape
    for start in range(0, count, CHUNK):
        place = images[start : start + CHUNK]
        pixels = np.empty((len(place), channels, height, width), np.uint8) if are_planes else place
        if fill(pixels, stream) < pixels.size:
            raise EOFError("it ends before its last image")
        if are_planes:
            place[:] = pixels.transpose(0, 2, 3, 1)
    if stream.read(1):
        raise ValueError("more values than its header says")


def _check_images(
    path: Path, key: str, shape: tuple[int, ...], is_fortran: bool, dtype: np.dtype[Any]
) -> tuple[int, int, int, int]:
    """Return the shape (N, H, W, C) of an array of images."""
    if dtype == np.uint8 and 0 not in shape:
        if key == PLANES and len(shape) == 2:
            side = math.isqrt(shape[1] // 3)
            if 3 * side * side == shape[1] and not is_fortran:
                return shape[0], side, side, 3
        if key == IMAGES and len(shape) == 3:
            return (*shape, 1)
        if key == IMAGES and len(shape) == 4 and shape[3] in (1, 3):
            return shape[0], shape[1], shape[2], shape[3]
    needed = "(N, H, W) or (N, H, W, C), C 1 or 3" if key == IMAGES else "(N, 3 * side * side) in the order of C"
    raise DataError(path, f"has {key!r} of {dtype} {shape}; they must be uint8 {needed}{_images_remedy(shape, dtype)}")


def _images_remedy(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        return "; move the channels last: images.transpose(0, 2, 3, 1)"
    if dtype.kind == "f":
        return "; values of 0 to 1 become uint8 by (images * 255).round().astype(np.uint8)"
    if dtype.kind in "iu" and dtype != np.uint8:
        return "; values of 0 to 255 become uint8 by images.astype(np.uint8)"
    return ""


def _check_labels(path: Path, count: int, labels: NDArray[Any], label_names: NDArray[Any] | None) -> None:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            path,
            f"has 'labels' of {labels.dtype} {labels.shape} for {count} images; give integers (N,)"
            + _labels_remedy(labels, count),
        )
    if label_names is not None and not _are_distinct_texts(label_names):
        raise DataError(path, f"has 'label_names' of {label_names.dtype} {label_names.shape}; give distinct texts (K,)")
    num_classes = MAX_CLASSES if label_names is None else len(label_names)
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        row = outside[0]
        raise DataError(path, f"has label {labels[row]} at image {row}; labels must be in 0 .. {num_classes - 1}")


def _labels_remedy(labels: NDArray[Any], count: int) -> str:
    if labels.shape == (count, 1):
        return ": labels.ravel()"
    if labels.ndim == 2 and len(labels) == count:
        return "; one-hot rows become integers by labels.argmax(1)"
    if labels.shape == (count,) and labels.dtype.kind == "f":
        return ": labels.astype(int)"
    return ""


def _are_distinct_texts(label_names: NDArray[Any]) -> bool:
    is_text = label_names.ndim == 1 and label_names.dtype.kind == "U"
    return is_text and len(set(label_names.tolist())) == len(label_names)
