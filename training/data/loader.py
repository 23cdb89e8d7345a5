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


def load_dataset(path: Path, label_columns: Sequence[LabelColumn] = (), unlabelled: bool = False) -> Dataset:
    """Read a data set.

    Args:
        path: one of
            a folder with MNIST's files (`train-images-idx3-ubyte`, plain or .gz, and its labels), of
            which the training split is read; or one such images file, its labels file beside it;
            a folder or .zip of images (training.data.image_folder has the rules);
            an .npz (training.data.npz has the keys).
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

    Raises: OSError.
    """
    if path.is_dir():
        return not any(file.name.removesuffix(".gz").endswith("-ubyte") for file in path.iterdir())
    return path.suffix.lower() == ".zip"


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
        "is not a data set; give a folder or .zip of images, an .npz, MNIST's folder or its images-idx3-ubyte file",
    )


def _read_test_images(path: Path, label_columns: Sequence[LabelColumn], unlabelled: bool) -> Dataset | None:
    if is_image_folder(path):
        return read_image_folder(path, label_columns, unlabelled, is_test=True)
    images = path / idx.TEST_IMAGES
    if not path.is_dir() or not (images.is_file() or images.with_name(images.name + ".gz").is_file()):
        return None
    return idx.read_idx_dataset(images)
