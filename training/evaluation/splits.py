"""Real images for measuring: those to learn from, and those that are kept for testing.

Knows: that an official test split is used where the data has one, and that a share is held out where
it has none. Does not know: file formats, metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training import data
from training.data import Dataset


@dataclass(frozen=True, eq=False)
class Splits:
    """Real images on both sides of the measuring.

    Attributes:
        whole: the data set as training reads it.
        train, test: uint8 images; their labels are among the same label names.
        official: whether the data itself names the test images; else they were held out of `whole`.
    """

    whole: Dataset
    train: Dataset
    test: Dataset
    official: bool


def load(path: Path, held_out_share: float) -> Splits:
    """Read both splits of a data set.

    Raises: DataError.
    """
    whole, test = data.load(path), data.load_test(path)
    if test is None:
        return Splits(whole, *held_out(whole, held_out_share, path), official=False)
    if test.shape != whole.shape:
        raise DataError(path, f"has test images of shape {test.shape}, but training images of shape {whole.shape}")
    if not set(test.label_names) <= set(whole.label_names):
        raise DataError(path, "has test images of classes that no training image has")
    return Splits(whole, whole, test, official=True)


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
    return Dataset(dataset.name, dataset.images[rows], labels, dataset.label_names)
