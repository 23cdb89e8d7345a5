"""Read CIFAR-10 and CIFAR-100 as their authors publish them: the binary and the Python version.

Source of both formats: www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.archive import FileSource
from training.data.image_files import read_bytes
from training.data.pickles import read_pickle
from training.data.record_images import Records, planes_to_images, read_records

SIDE = 32
PIXEL_BYTES = 3 * SIDE * SIDE
_BATCH = re.compile(r"data_batch_([0-9]{1,3})(\.bin)?")


class _Labels(NamedTuple):
    """A label of CIFAR's records: its heading, where its names stand, and its key in the Python version."""

    heading: str
    text_file: str
    meta_key: str
    key: str


_CIFAR10 = (_Labels("label", "batches.meta.txt", "label_names", "labels"),)
# In the order of the bytes in the binary version.
_CIFAR100 = (
    _Labels("coarse_label", "coarse_label_names.txt", "coarse_label_names", "coarse_labels"),
    _Labels("label", "fine_label_names.txt", "fine_label_names", "fine_labels"),
)


class _Files(NamedTuple):
    """The files of a version: of each split, of the names of classes, and the labels of a record."""

    training: list[str]
    test: list[str]
    names: list[str]
    labels: tuple[_Labels, ...]
    is_binary: bool


def is_cifar(names: Collection[str]) -> bool:
    """Tell by the names of files whether they are one of CIFAR's versions."""
    return _find_files(names) is not None


def read_cifar(source: FileSource, is_test: bool = False) -> Records | None:
    """Read the training or the test images, whose labels are `label` and, in CIFAR-100, `coarse_label`.

    Returns: None if there are no test images.
    Raises: DataError naming the file at fault.
    """
    all_names = source.names()
    files = _find_files(all_names)
    if files is None:
        raise DataError(source.path, "has none of CIFAR's files; give the folder that has")
    batches = files.test if is_test else files.training
    if not batches:
        if is_test:
            return None
        raise DataError(source.path, f"has no file to train on beside {files.test[0]}; add it")
    used = {*files.training, *files.test, *files.names}
    read = _read_binary if files.is_binary else _read_python
    parts = [read(source, name, files.labels) for name in batches]
    class_names = {labels.heading: _read_names(source, files, labels) for labels in files.labels}
    return Records(
        planes_to_images(source.path, [planes for planes, _ in parts], (SIDE, SIDE)),
        {labels.heading: np.concatenate([numbers[labels.heading] for _, numbers in parts]) for labels in files.labels},
        class_names,
        tuple(sorted(name for name in all_names if name not in used)),
    )


def _find_files(names: Collection[str]) -> _Files | None:
    by_base = {PurePosixPath(name).name: name for name in sorted(names)}
    batches = {int(match[1]): base for base in by_base if (match := _BATCH.fullmatch(base))}

    def found(*bases: str) -> list[str]:
        return [by_base[base] for base in bases if base in by_base]

    if batches:
        # A batch that is missing is an error: its name is listed, and will not open.
        first = batches[min(batches)]
        suffix = ".bin" if first.endswith(".bin") else ""
        expected = [f"data_batch_{k}{suffix}" for k in range(1, max(batches) + 1)]
        folder = by_base[first][: -len(first)]
        training = [by_base.get(base, folder + base) for base in expected]
        meta = "batches.meta.txt" if suffix else "batches.meta"
        return _Files(training, found(f"test_batch{suffix}"), found(meta), _CIFAR10, bool(suffix))
    if {"train.bin", "fine_label_names.txt"} <= by_base.keys():
        meta_names = found(*(labels.text_file for labels in _CIFAR100))
        return _Files(found("train.bin"), found("test.bin"), meta_names, _CIFAR100, True)
    if {"train", "meta"} <= by_base.keys():
        return _Files(found("train"), found("test"), found("meta"), _CIFAR100, False)
    return None


def _read_binary(
    source: FileSource, name: str, labels: tuple[_Labels, ...]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.int64]]]:
    records = read_records(source, name, len(labels) + PIXEL_BYTES)
    numbers = {one.heading: records[:, k].astype(np.int64) for k, one in enumerate(labels)}
    return records[:, len(labels) :], numbers


def _read_python(
    source: FileSource, name: str, labels: tuple[_Labels, ...]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.int64]]]:
    batch = _open_pickle(source, name)
    pixels = batch.get("data")
    is_array = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2
    if pixels is None or not is_array or pixels.shape[1] != PIXEL_BYTES or not len(pixels):
        raise DataError(source.path / name, f"has no 'data' of uint8 (N, {PIXEL_BYTES}); fetch it again")
    return pixels, {one.heading: _check_numbers(source, name, batch.get(one.key), len(pixels)) for one in labels}


def _check_numbers(source: FileSource, name: str, values: Any, count: int) -> NDArray[np.int64]:
    if not isinstance(values, list) or len(values) != count or not all(type(v) is int and 0 <= v < 256 for v in values):
        raise DataError(
            source.path / name, f"has no label from 0 to 255 for each of its {count} images; fetch it again"
        )
    return np.array(values, np.int64)


def _open_pickle(source: FileSource, name: str) -> dict[str, Any]:
    try:
        with source.open(name) as file:
            return read_pickle(source.path / name, file)
    except (OSError, KeyError) as error:
        reason = getattr(error, "strerror", None) or "is missing"
        raise DataError(source.path / name, f"cannot be read ({reason}); fetch it again") from None


def _read_names(source: FileSource, files: _Files, labels: _Labels) -> list[str]:
    """Return the names of a label's values 0, 1, ...; [] if the file of names is not there."""
    for name in files.names:
        if not files.is_binary:
            names = _open_pickle(source, name).get(labels.meta_key, [])
            return [str(one) for one in names] if isinstance(names, list) else []
        if PurePosixPath(name).name == labels.text_file:
            return list(_lines(read_bytes(source, name)))
    return []


def _lines(content: bytes) -> Iterator[str]:
    for line in content.decode("utf-8", "replace").splitlines():
        if line.strip():
            yield line.strip()
