"""Splits real images into those that a classifier may learn from and those that it is tested with.

The data set's own test images are used if it has any, else those that training held out, else a share held out now.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.config import DataConfig
from training.data.dataset import Dataset
from training.data.loader import load_dataset, load_test_images


@dataclass(frozen=True, eq=False)
class DataSplit:
    """Real images for training and for testing.

    Attributes:
        whole: the data set as training reads it.
        train: images uint8 (n, H, W, C), with labels if the data has any.
        test: the same, of classes that `train` has too.
        test_origin: where the test images come from, in words.
        test_seen_in_training: True if a generator trained on `whole` has seen the test images.
        mirror: True if a flipped image is as real.
    """

    whole: Dataset
    train: Dataset
    test: Dataset
    test_origin: str
    test_seen_in_training: bool = False
    mirror: bool = False


def load(path: Path, settings: DataConfig, holdout: float) -> DataSplit:
    """Read a data set and split it.

    Args:
        path: the data set, as for training.
        settings: how the generator's training read the data, among them its label columns and its own holdout.
        holdout: share of each class to hold out if nothing else separates test images from training images.

    Raises:
        DataError: the data cannot be read, or its test images do not match its training images.
    """
    whole = load_dataset(path, settings.label_columns)
    test = load_test_images(path)
    if test is not None:
        _check_match(path, whole, test)
        return DataSplit(whole, whole, test, test_origin="the data's own", mirror=settings.mirror)
    if whole.holdout_size(settings.holdout):
        train, test = whole.split(settings.holdout)
        origin = f"{settings.holdout:.0%}, held out in training"
        return DataSplit(whole, train, test, test_origin=origin, mirror=settings.mirror)
    train, test = split_by_class(whole, holdout, path)
    return DataSplit(
        whole,
        train,
        test,
        test_origin=f"{holdout:.0%} of each class, held out",
        test_seen_in_training=True,
        mirror=settings.mirror,
    )


def split_by_class(dataset: Dataset, holdout: float, path: Path) -> tuple[Dataset, Dataset]:
    """Hold out a share of every class, chosen with a fixed seed.

    Returns:
        The images for training and the images held out.

    Raises:
        DataError: there are too few images to hold any out.
    """
    groups = np.zeros(len(dataset), np.int64) if dataset.labels is None else dataset.labels
    rng = np.random.RandomState(0)
    is_held_out = np.zeros(len(dataset), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        is_held_out[rng.permutation(members)[: round(len(members) * holdout)]] = True
    if not is_held_out.any():
        raise DataError(
            path, f"holds {len(dataset)} images: too few to hold out {holdout:.0%} of each class for testing"
        )
    return _select(dataset, ~is_held_out), _select(dataset, is_held_out)


def _check_match(path: Path, whole: Dataset, test: Dataset) -> None:
    if test.shape != whole.shape:
        raise DataError(path, f"has test images of shape {test.shape}, but training images of shape {whole.shape}")
    if not set(test.class_names) <= set(whole.class_names):
        raise DataError(path, "has test images of classes that no training image has")


def _select(dataset: Dataset, mask: NDArray[np.bool_]) -> Dataset:
    labels = None if dataset.labels is None else dataset.labels[mask]
    return Dataset(dataset.name, dataset.images[mask], labels, dataset.class_names)
