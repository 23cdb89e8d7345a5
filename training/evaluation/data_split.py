"""Real images for measuring: those to learn from, and those that are kept for testing.

Knows: that the data's own test images are used where there are any, else those that training kept
aside, else a share held out now. Does not know: file formats, metrics.
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
    """Real images on both sides of the measuring.

    Attributes:
        whole: the data set as training reads it.
        train, test: uint8 images; their labels are among the same label names.
        origin: where the test images come from, in words.
        mirror: whether a flipped image is as real.
        learned: whether who trains on `whole` has seen the test images.
    """

    whole: Dataset
    train: Dataset
    test: Dataset
    origin: str
    learned: bool = False
    mirror: bool = False


def load(path: Path, settings: DataConfig, held_out_share: float) -> DataSplit:
    """Read both splits of a data set.

    Args:
        settings: how the generator's training read it: its label columns, and what it kept aside.
        held_out_share: to be held out where nothing else tells training images from test images.
    Raises: DataError.
    """
    whole, test, mirror = load_dataset(path, settings.labels), load_test_images(path), settings.mirror
    if test is None and whole.holdout_size(settings.holdout):
        return DataSplit(
            whole, *whole.split(settings.holdout), f"{settings.holdout:.0%}, kept aside in training", mirror=mirror
        )
    if test is None:
        parts = held_out(whole, held_out_share, path)
        return DataSplit(whole, *parts, f"{held_out_share:.0%} of each class, held out", learned=True, mirror=mirror)
    if test.shape != whole.shape:
        raise DataError(path, f"has test images of shape {test.shape}, but training images of shape {whole.shape}")
    if not set(test.class_names) <= set(whole.class_names):
        raise DataError(path, "has test images of classes that no training image has")
    return DataSplit(whole, whole, test, "the data's own", mirror=mirror)


def held_out(dataset: Dataset, share: float, path: Path) -> tuple[Dataset, Dataset]:
    """The data set without and with a share of every class, drawn by a fixed seed.

    Raises: DataError when there are too few images.
    """
    groups = np.zeros(len(dataset), np.int64) if dataset.labels is None else dataset.labels
    random = np.random.RandomState(0)
    picked = np.zeros(len(dataset), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        picked[random.permutation(members)[: round(len(members) * share)]] = True
    if not picked.any():
        raise DataError(path, f"holds {len(dataset)} images: too few to keep {share:.0%} of each class for testing")
    return _part(dataset, ~picked), _part(dataset, picked)


def _part(dataset: Dataset, rows: NDArray[np.bool_]) -> Dataset:
    labels = None if dataset.labels is None else dataset.labels[rows]
    return Dataset(dataset.name, dataset.images[rows], labels, dataset.class_names)
