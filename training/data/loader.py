"""Load a data set: tell what kind of data a path holds and choose its reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from models.errors import DataError
from training.data import idx
from training.data.archive import readable
from training.data.dataset import Dataset
from training.data.image_folder import read_image_folder
from training.data.labels import LabelColumn
from training.data.npz import read_npz_dataset
from training.data.shards import is_sharded, read_sharded


def load_dataset(path: Path, label_columns: Sequence[LabelColumn] = (), unlabelled: bool = False) -> Dataset:
    """Read a data set.

    Args:
        path: one of
            a folder with MNIST's files (`train-images-idx3-ubyte`, plain or .gz, and its labels), of
            which the training split is read; or one such images file, its labels file beside it;
            a folder or .zip of images (training.data.image_folder has the rules);
            an .npz (training.data.npz has the keys);
            .parquet, .tar (WebDataset) or a folder of these or of .npz files (training.data.shards).
        label_columns: which csv columns make the label; for images with a csv only.
        unlabelled: read no labels.
    Returns: a data set with at least one image; the same content gives the same digest from a folder
    and from a zip.
    Raises: DataError naming the file at fault.
    """
    with _wrap_os_errors(path):
        dataset = _read(path, label_columns, unlabelled)
        dataset = dataset.without_labels() if unlabelled else dataset
        return dataclasses.replace(dataset, name=readable(path.resolve().name))


def load_test_images(path: Path, label_columns: Sequence[LabelColumn] = (), unlabelled: bool = False) -> Dataset | None:
    """Read the test images that come with a data set: MNIST's, or those of a folder's test split; None if it has none.

    Args: as for load_dataset. The classes are those of the test images.
    Raises: DataError naming the file at fault.
    """
    with _wrap_os_errors(path):
        dataset = _read_test_images(path, label_columns, unlabelled)
        if dataset is None:
            return None
        dataset = dataset.without_labels() if unlabelled else dataset
        return dataclasses.replace(dataset, name=f"{readable(path.resolve().name)} (test)")


def is_image_folder(path: Path) -> bool:
    """Tell whether the path is a zip or a folder of images (training.data.image_folder), not MNIST's folder.

    Raises: OSError; DataError.
    """
    if path.is_dir():
        return not _has_idx_files(path) and not is_sharded(path)
    return path.suffix.lower() == ".zip"


def _has_idx_files(folder: Path) -> bool:
    return any(file.name.removesuffix(".gz").endswith("-ubyte") for file in folder.iterdir())


@contextmanager
def _wrap_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(Path(error.filename or path), f"cannot be read: {error.strerror or error}") from None


def _read(path: Path, label_columns: Sequence[LabelColumn], unlabelled: bool) -> Dataset:
    if not path.exists():
        raise DataError(path, "does not exist")
    if is_image_folder(path):
        return cast(Dataset, read_image_folder(path, label_columns, unlabelled))
    if not (path.is_dir() and _has_idx_files(path)) and is_sharded(path):
        return cast(Dataset, read_sharded(path, label_columns, unlabelled))
    if label_columns:
        headings = ", ".join(repr(column.column) for column in label_columns)
        raise DataError(
            path,
            f"is not a folder or zip of images, so it has no csv with {headings}; "
            "use its own labels: --set data.label_columns=[]",
        )
    if path.is_dir():
        return idx.read_idx_dataset(path / idx.TRAIN_IMAGES)
    if path.suffix.lower() == ".npz":
        return read_npz_dataset(path)
    if "ubyte" in path.name:
        return idx.read_idx_dataset(path)
    raise DataError(
        path,
        "is not a data set; give a folder or .zip of images, an .npz, .parquet or WebDataset's .tar, MNIST's folder "
        "or its images-idx3-ubyte file",
    )


def _read_test_images(path: Path, label_columns: Sequence[LabelColumn], unlabelled: bool) -> Dataset | None:
    if is_image_folder(path):
        return read_image_folder(path, label_columns, unlabelled, is_test=True)
    if path.is_dir() and _has_idx_files(path):
        images = path / idx.TEST_IMAGES
        has_test = images.is_file() or images.with_name(images.name + ".gz").is_file()
        return idx.read_idx_dataset(images) if has_test else None
    return read_sharded(path, label_columns, unlabelled, is_test=True) if is_sharded(path) else None
