"""Load a data set: tell what kind of data a path holds and choose its reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import cast

from models.errors import DataError
from training.data import idx
from training.data.archive import archive_suffix, open_source, readable
from training.data.array_fitting import fit_dataset
from training.data.cifar import is_cifar, read_cifar
from training.data.dataset import Dataset
from training.data.decoding import AS_THEY_ARE, Decoding
from training.data.image_folder import read_image_folder
from training.data.labels import LabelColumn
from training.data.npz import read_npz_dataset
from training.data.record_images import Records, records_to_dataset
from training.data.shards import is_sharded, read_sharded
from training.data.stl10 import is_stl10, read_stl10
from training.data.svhn import SUFFIX as MAT_SUFFIX
from training.data.svhn import is_svhn, read_mat, read_svhn


class Kind(Enum):
    """The kinds of data sets, each with its reader."""

    IMAGES = auto()
    SHARDS = auto()
    CIFAR = auto()
    STL10 = auto()
    SVHN = auto()
    IDX = auto()
    NPZ = auto()


def load_dataset(
    path: Path,
    label_columns: Sequence[LabelColumn] = (),
    unlabelled: bool = False,
    decoding: Decoding = AS_THEY_ARE,
) -> Dataset:
    """Read a data set.

    Args:
        path: one of
            a folder with MNIST's files (`train-images-idx3-ubyte`, plain or .gz, and its labels), of
            which the training split is read; or one such images file, its labels file beside it;
            a folder, .zip or .tar, also .tar.gz, of images (training.data.image_folder has the rules);
            the same of CIFAR's, STL-10's or SVHN's files (training.data.cifar, .stl10, .svhn), or one of SVHN's;
            an .npz (training.data.npz has the keys);
            .parquet, .arrow, .tar (WebDataset) or a folder of these or of .npz files (training.data.shards).
        label_columns: which csv columns make the label; for images with a csv only.
        unlabelled: read no labels.
        decoding: how the pixels are read, and the size that they are brought to.
    Returns: a data set with at least one image; the same content gives the same digest from a folder
    and from a zip.
    Raises: DataError naming the file at fault.
    """
    with _wrap_os_errors(path):
        dataset = cast(Dataset, _read(path, label_columns, unlabelled, False, decoding))
        dataset = dataset.without_labels() if unlabelled else dataset
        return dataclasses.replace(dataset, name=readable(path.resolve().name))


def load_test_images(
    path: Path,
    label_columns: Sequence[LabelColumn] = (),
    unlabelled: bool = False,
    decoding: Decoding = AS_THEY_ARE,
) -> Dataset | None:
    """Read the test images that come with a data set: MNIST's, or those of a folder's test split; None if it has none.

    Args: as for load_dataset. The classes are those of the test images.
    Raises: DataError naming the file at fault.
    """
    with _wrap_os_errors(path):
        dataset = _read(path, label_columns, unlabelled, True, decoding)
        if dataset is None:
            return None
        dataset = dataset.without_labels() if unlabelled else dataset
        return dataclasses.replace(dataset, name=f"{readable(path.resolve().name)} (test)")


def find_kind(path: Path) -> Kind:
    """Tell which kind of data set a path holds.

    Raises: OSError; DataError.
    """
    if not path.exists():
        raise DataError(path, "does not exist")
    if path.is_dir() and any(file.name.removesuffix(".gz").endswith("-ubyte") for file in path.iterdir()):
        return Kind.IDX
    if is_sharded(path):
        return Kind.SHARDS
    if path.is_dir() or archive_suffix(path):
        with open_source(path) as source:
            names = source.names()
        is_kind = {Kind.CIFAR: is_cifar, Kind.STL10: is_stl10, Kind.SVHN: is_svhn}
        return next((kind for kind, is_it in is_kind.items() if is_it(names)), Kind.IMAGES)
    if path.suffix.lower() == MAT_SUFFIX:
        return Kind.SVHN
    if path.suffix.lower() == ".npz":
        return Kind.NPZ
    if "ubyte" in path.name:
        return Kind.IDX
    raise DataError(
        path,
        "is not a data set; give a folder, .zip or .tar of images, an .npz, .parquet or .arrow, MNIST's, CIFAR's, "
        "STL-10's or SVHN's files, or WebDataset's .tar",
    )


@contextmanager
def _wrap_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(Path(error.filename or path), f"cannot be read: {error.strerror or error}") from None


def _read(
    path: Path, label_columns: Sequence[LabelColumn], unlabelled: bool, is_test: bool, decoding: Decoding
) -> Dataset | None:
    kind = find_kind(path)
    if kind is Kind.IMAGES:
        return read_image_folder(path, label_columns, unlabelled, is_test, decoding)
    if kind is Kind.SHARDS:
        return read_sharded(path, label_columns, unlabelled, is_test, decoding)
    dataset = _read_arrays(path, kind, label_columns, unlabelled, is_test)
    return None if dataset is None else fit_dataset(dataset, decoding)


def _read_arrays(
    path: Path, kind: Kind, label_columns: Sequence[LabelColumn], unlabelled: bool, is_test: bool
) -> Dataset | None:
    if kind in (Kind.CIFAR, Kind.STL10, Kind.SVHN):
        records = _read_records(path, kind, unlabelled, is_test)
        return None if records is None else records_to_dataset(path, records, label_columns, unlabelled)
    if label_columns:
        headings = ", ".join(repr(column.column) for column in label_columns)
        raise DataError(
            path,
            f"is not a folder or zip of images, so it has no csv with {headings}; "
            "use its own labels: --set data.label_columns=[], without data.continuous_label",
        )
    if kind is Kind.NPZ:
        return None if is_test else read_npz_dataset(path)
    return _read_idx(path, is_test)


def _read_records(path: Path, kind: Kind, unlabelled: bool, is_test: bool) -> Records | None:
    if path.suffix.lower() == MAT_SUFFIX and path.is_file():
        with open_source(path.parent) as source:
            return None if is_test else read_mat(source, path.name)
    with open_source(path) as source:
        if kind is Kind.CIFAR:
            return read_cifar(source, is_test)
        return read_svhn(source, is_test) if kind is Kind.SVHN else read_stl10(source, is_test, unlabelled)


def _read_idx(path: Path, is_test: bool) -> Dataset | None:
    if not path.is_dir():
        return None if is_test else idx.read_idx_dataset(path)
    images = path / (idx.TEST_IMAGES if is_test else idx.TRAIN_IMAGES)
    is_missing = not images.is_file() and not images.with_name(images.name + ".gz").is_file()
    return None if is_test and is_missing else idx.read_idx_dataset(images)
