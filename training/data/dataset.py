"""Training data.

Knows: what a data set is, the toy distributions, and how to tell and read what a user brings: IDX
(MNIST's format), npz, or pictures in a folder or zip (training.data.image_folder). An image set is
kept as uint8 and turned into floats batch by batch. Does not know: presets, networks, training.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from models.errors import DataError
from training.data import image_folder
from training.data.image_folder import Content, allocate
from training.data.labels import LabelColumn
from training.rng import HOLDOUT, stream

IDX_IMAGES = "train-images-idx3-ubyte"
IDX_TEST_IMAGES = "t10k-images-idx3-ubyte"
# Deflate cannot shrink by more (zlib.net, "Maximum Compression Factor").
GZIP_MAX_RATIO = 1032
READ_BYTES = 1 << 20
# No set has more classes; a label above it is a mistake that would ask for as many names.
MAX_CLASSES = 65536


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled or unlabelled samples in memory, or memory-mapped.

    Attributes:
        name: what messages call it.
        images: uint8 (N, H, W, C) for pictures, float32 (N, dim, 1, 1) for toy data.
        labels: int64 (N,) in 0 .. len(label_names) - 1, or None.
        label_names: one name per class, in label order; empty when unlabelled.
    """

    name: str
    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one sample."""
        if self.images.dtype == np.uint8:
            height, width, channels = self.images.shape[1:]
            return channels, height, width
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """sha256 over shape, pixels, labels and label names: what the card calls the data's identity."""
        h = hashlib.sha256(repr((self.images.shape, str(self.images.dtype), self.class_names)).encode())
        for start in range(0, len(self), 4096):
            h.update(np.ascontiguousarray(self.images[start : start + 4096]).data)
        if self.labels is not None:
            h.update(self.labels.astype("<i8").data)
        return h.hexdigest()

    def split(self, holdout: float) -> tuple[Dataset, Dataset]:
        """The samples to train on and those kept aside for evaluation, each in this set's order.

        Args:
            holdout: share kept aside, 0 .. below 1, rounded to whole samples. Which ones is a pure
                function of this share and the number of samples.
        Returns: (train, held out), of which the second is empty for holdout 0.
        """
        kept = self.held_out(holdout)
        order = stream(0, HOLDOUT, len(self)).permutation(len(self))
        return self._only(np.sort(order[kept:])), self._only(np.sort(order[:kept]))

    def held_out(self, holdout: float) -> int:
        """How many samples `split` keeps aside."""
        return round(len(self) * holdout)

    def _only(self, indices: NDArray[np.int64]) -> Dataset:
        if len(indices) == len(self):
            return self
        labels = None if self.labels is None else self.labels[indices]
        return dataclasses.replace(self, images=_rows(self.images, indices, self.name), labels=labels)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Samples by index.

        Returns: float32 (n, C, H, W), pixels scaled to -1 .. 1, toy data as it is; labels int64 (n,),
        zeros when unlabelled.
        """
        picked = self.images[indices]
        labels = np.zeros(len(indices), np.int64) if self.labels is None else self.labels[indices]
        if picked.dtype == np.uint8:
            floats = picked.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1.0)
            return np.ascontiguousarray(floats), labels
        return picked.astype(np.float32), labels


def _rows(
    images: NDArray[np.uint8] | NDArray[np.float32], indices: NDArray[np.int64], name: str
) -> NDArray[np.uint8] | NDArray[np.float32]:
    if images.dtype != np.uint8:
        return images[indices]
    rows = allocate((len(indices), *images.shape[1:]), Path(name))
    # mode "raise" would buffer the whole of it.
    np.take(images, indices, axis=0, out=rows, mode="clip")
    return rows


def toy1d() -> Dataset:
    """65,536 draws from N(4, 1.25), mean and standard deviation."""
    draws = np.random.RandomState(1).normal(4.0, 1.25, size=(65536, 1, 1, 1))
    return Dataset("toy1d", draws.astype(np.float32))


def toy25() -> Dataset:
    """65,536 draws from 25 equally likely Gaussians, sd 0.05, centres on {-2, -1, 0, 1, 2} squared."""
    random = np.random.RandomState(1)
    centres = random.randint(-2, 3, size=(65536, 2))
    draws = centres + random.normal(0.0, 0.05, size=(65536, 2))
    return Dataset("toy25", draws.astype(np.float32).reshape(-1, 2, 1, 1))


def load_dataset(path: Path, labels: Sequence[LabelColumn] = ()) -> Dataset:
    """Read a data set.

    Args:
        path: one of
            a folder with MNIST's files (`train-images-idx3-ubyte`, plain or .gz, and its labels), of
            which the training split is read; or one such images file, its labels file beside it;
            a folder or .zip of pictures (training.data.image_folder has the rules);
            an .npz with `images` uint8 (N, H, W) or (N, H, W, C), C 1 or 3, and optionally `labels`,
            integers (N,), and `label_names`, text (K,).
        labels: which csv columns make the label; for pictures with a csv only.
    Returns: a data set with at least one image; the same content gives the same digest from a folder
    and from a zip.
    Raises: DataError naming the file at fault.
    """
    try:
        content = _read(path, labels)
    except OSError as error:
        raise DataError(Path(error.filename or path), f"cannot be read: {error.strerror or error}") from None
    return Dataset(path.resolve().name, *content)


def load_test_images(path: Path) -> Dataset | None:
    """The test images that a data set itself names: those of MNIST's folder; None where there are none.

    Raises: DataError naming the file at fault.
    """
    images = path / IDX_TEST_IMAGES
    try:
        if not path.is_dir() or not (images.is_file() or images.with_name(images.name + ".gz").is_file()):
            return None
        return Dataset(f"{path.resolve().name} (test)", *_read_idx_pair(_plain_or_gz(images)))
    except OSError as error:
        raise DataError(Path(error.filename or path), f"cannot be read: {error.strerror or error}") from None


def holds_pictures(path: Path) -> bool:
    """Whether it is a zip, or a folder other than MNIST's: what training.data.image_folder reads.

    Raises: OSError.
    """
    if path.is_dir():
        return not any(p.name.removesuffix(".gz").endswith("-ubyte") for p in path.iterdir())
    return path.suffix.lower() == ".zip"


def _read(path: Path, labels: Sequence[LabelColumn]) -> Content:
    if not path.exists():
        raise DataError(path, "does not exist")
    if holds_pictures(path):
        return image_folder.read(path, labels)
    if labels:
        columns = ", ".join(repr(column.column) for column in labels)
        raise DataError(
            path, f"is no folder or zip with a csv that has {columns}; take labels as they come: --set data.labels=[]"
        )
    if path.is_dir():
        return _read_idx_pair(_plain_or_gz(path / IDX_IMAGES))
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    if "ubyte" in path.name:
        return _read_idx_pair(path)
    raise DataError(
        path, "is no data set: give a folder or .zip of pictures, an .npz, MNIST's folder or its images-idx3-ubyte file"
    )


def _plain_or_gz(path: Path) -> Path:
    """The path itself or with .gz, whichever is there."""
    packed = path.with_name(path.name + ".gz")
    if path.is_file():
        return path
    if packed.is_file():
        return packed
    raise DataError(path, f"is missing, and so is {packed.name}; put one of them there")


def _read_idx_pair(path: Path) -> Content:
    """An IDX file of images and the labels file that MNIST's naming puts beside it."""
    labels_name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if labels_name == path.name.removesuffix(".gz"):
        raise DataError(path, "is not named like images-idx3-ubyte; give the file of images")
    labels_path = _plain_or_gz(path.with_name(labels_name))
    images = read_idx(path)
    if images.ndim != 3 or 0 in images.shape:
        raise DataError(path, f"holds an array of shape {images.shape}, not images (N, H, W)")
    labels = read_idx(labels_path)
    if labels.shape != images.shape[:1]:
        raise DataError(labels_path, f"has labels of shape {labels.shape} for the {len(images)} images of {path.name}")
    names = tuple(str(k) for k in range(int(labels.max()) + 1))
    return Content(images[..., np.newaxis], labels.astype(np.int64), names)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes, plain or gzipped.

    Format: two zero bytes, type 0x08, the number of dimensions, each dimension as a big-endian
    uint32, then the data (yann.lecun.com/exdb/mnist, "the IDX file format").

    Returns: uint8 of the shape that the header states.
    Raises: DataError when the file is not whole; OSError when it cannot be opened.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        limit = path.stat().st_size * (GZIP_MAX_RATIO if packed else 1)
        try:
            return _read_idx_stream(path, cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file, limit)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(path, f"is a damaged gzip file ({error}); fetch it again") from None


def _read_idx_stream(path: Path, stream: BinaryIO, limit: int) -> NDArray[np.uint8]:
    """Reads into one array, so that a large file is in memory once."""
    start = stream.read(4)
    if len(start) < 4 or start[:3] != b"\x00\x00\x08":
        raise DataError(path, "is not an IDX file of unsigned bytes")
    header = stream.read(4 * start[3])
    if len(header) < 4 * start[3]:
        raise DataError(path, "is truncated inside its header; fetch it again")
    shape = struct.unpack(f">{start[3]}I", header)
    expected = math.prod(shape)
    if expected > limit:
        raise DataError(path, f"is truncated: too short for the {expected} bytes that its header states")
    array = allocate(shape, path)
    target, got = array.reshape(-1).data, 0
    while got < expected and (chunk := stream.read(min(READ_BYTES, expected - got))):
        target[got : got + len(chunk)] = chunk
        got += len(chunk)
    if got < expected:
        raise DataError(path, f"is truncated: {got} bytes of data, its header states {expected}; fetch it again")
    if stream.read(1):
        raise DataError(path, f"is too long: more data than the {expected} bytes that its header states")
    return array


def _read_npz(path: Path) -> Content:
    arrays: dict[str, NDArray[Any]] = {}
    try:
        # Pickles can run code, so arrays of objects are refused.
        with path.open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            for name in {"images", "labels", "label_names"} & set(archive):
                arrays[name] = np.asarray(archive[name])
            found = sorted(archive)
    except MemoryError:
        raise DataError(path, "does not fit into memory; give a zip of pictures, which is mapped from disk") from None
    except (OSError, EOFError, ValueError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(path, f"is not a whole npz without pickles ({error}); save it again") from None
    if "images" not in arrays:
        raise DataError(path, f"has no 'images' (found {', '.join(found) or 'nothing'})")
    given = arrays["images"]
    images = given[..., np.newaxis] if given.ndim == 3 else given
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape or images.shape[3] not in (1, 3):
        raise DataError(
            path,
            f"has 'images' of {given.dtype} {given.shape}; they must be uint8 (N, H, W) or (N, H, W, C), C 1 or 3",
        )
    return Content(images, *_npz_labels(path, len(images), arrays))


def _npz_labels(
    path: Path, count: int, arrays: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    labels, names = arrays.get("labels"), arrays.get("label_names")
    if labels is None:
        if names is not None:
            raise DataError(path, "has 'label_names' but no 'labels'")
        return None, ()
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(path, f"has 'labels' of {labels.dtype} {labels.shape} for {count} images; give integers (N,)")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names)):
        raise DataError(path, f"has 'label_names' of {names.dtype} {names.shape}; give distinct texts (K,)")
    classes = MAX_CLASSES if names is None else len(names)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(path, f"has label {labels[wrong[0]]} at image {wrong[0]}; labels must be in 0 .. {classes - 1}")
    texts = [str(k) for k in range(int(labels.max()) + 1)] if names is None else names.tolist()
    return labels.astype(np.int64), tuple(texts)
