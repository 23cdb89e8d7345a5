"""Split a data set into images for training, for choices (validation) and for a release (test)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.data.layout import MAX_NAMED
from training.rng import HOLDOUT, VALIDATION, stream


class Parts(NamedTuple):
    """The parts of a data set, each in the set's order; a part is empty where its share is 0.

    Attributes:
        train: what a generator learns from.
        validation: what settings, snapshots and thresholds are chosen with.
        test: what a release is measured on.
    """

    train: Dataset
    validation: Dataset
    test: Dataset


def split_dataset(dataset: Dataset, holdout: float, validation: float, stratify_holdout: bool = True) -> Parts:
    """Split a data set; which images a part gets is a pure function of these arguments and the labels.

    Args:
        dataset: all images, labelled or not.
        holdout: share for `test`, 0 to below 1.
        validation: share of each class's other images for `validation`, 0 to below 1.
        stratify_holdout: take the share for `test` of each class instead of all images together.
    """
    train, validation_rows, test = _split_rows(dataset.groups, holdout, validation, stratify_holdout)
    return Parts(dataset.take(train), dataset.take(validation_rows), dataset.take(test))


def find_mismatch(training: Sequence[str], test: Sequence[str]) -> str | None:
    """Return why test images with these classes cannot be compared with training images; None if they can."""
    if bool(test) != bool(training):
        return (
            "has labels for only one of its training and test images; give the folder to train on only, or "
            "--set data.unlabelled=true"
        )
    unknown = sorted(set(test) - set(training))
    listed = ", ".join(map(repr, unknown[:MAX_NAMED]))
    return (
        f"has test images of classes that no training image has: {listed}; remove or rename them" if unknown else None
    )


def find_shape_mismatch(training: tuple[int, int, int], test: tuple[int, int, int]) -> str | None:
    """Return why test images of this shape cannot be compared with training images; None if they can."""
    return None if test == training else f"has test images of shape {test}, but training images of shape {training}"


def count_parts(
    groups: NDArray[np.int64], holdout: float, validation: float, stratify_holdout: bool = True
) -> tuple[int, int, int]:
    """Return how many images `split_dataset` takes for train, validation and test.

    Args: groups, of the data set, int64 (n,).
    """
    train, validation_rows, test = _split_rows(groups, holdout, validation, stratify_holdout)
    return len(train), len(validation_rows), len(test)


def _split_rows(
    groups: NDArray[np.int64], holdout: float, validation: float, stratify_holdout: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of train, validation and test, each ascending."""
    is_test = _choose(groups if stratify_holdout else np.zeros_like(groups), holdout, HOLDOUT)
    others = np.flatnonzero(~is_test)
    is_validation = _choose(groups[others], validation, VALIDATION)
    return others[~is_validation], others[is_validation], np.flatnonzero(is_test)


def _choose(groups: NDArray[np.int64], share: float, purpose: int) -> NDArray[np.bool_]:
    """Choose a share of each group, rounded to whole images.

    A larger share of the same groups contains the smaller one.

    Args:
        groups: the group of each image, int64 (n,).
        share: 0 to below 1.
        purpose: of the random stream.
    Returns: bool (n,).
    """
    is_chosen = np.zeros(len(groups), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        order = stream(0, purpose, len(groups), int(group)).permutation(members)
        is_chosen[order[: round(len(members) * share)]] = True
    return is_chosen
