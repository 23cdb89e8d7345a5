"""What a data set is, and how it is split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.data.samples import (
    random_pixels,
    write_npz,
)
from training.data.dataset import Dataset, toy1d, toy25
from training.data.loader import load_dataset


def test_a_batch_of_images_is_scaled_to_minus_one_to_one(tmp_path: Path) -> None:
    images = np.array([0, 255, 51], np.uint8).reshape(1, 1, 1, 3)
    floats, labels = load_dataset(write_npz(tmp_path / "set.npz", images=images, labels=[1])).batch(np.array([0, 0]))
    assert floats.shape == (2, 3, 1, 1)
    assert floats.dtype == np.float32
    assert floats.flags["C_CONTIGUOUS"]
    assert floats[0].ravel().tolist() == pytest.approx([-1.0, 1.0, -0.6])
    assert labels.tolist() == [1, 1]


def test_the_digest_depends_on_pixels_labels_names_and_shape() -> None:
    images = random_pixels(1, 4, 2, 2, 1)
    labels = np.array([0, 1, 0, 1])
    other = images.copy()
    other[3, 1, 1, 0] ^= 1
    sets = [
        Dataset("a", images),
        Dataset("a", images, labels, ("x", "y")),
        Dataset("a", images, labels[::-1].copy(), ("x", "y")),
        Dataset("a", images, labels, ("x", "z")),
        Dataset("a", other),
        Dataset("a", images.reshape(4, 4, 1, 1)),
        Dataset("a", images[::-1]),
    ]
    assert len({s.digest for s in sets}) == len(sets)
    assert Dataset("other name", images).digest == sets[0].digest


def test_toy_data_have_the_stated_distributions() -> None:
    one, grid = toy1d(), toy25()
    assert one.shape == (1, 1, 1)
    assert grid.shape == (2, 1, 1)
    assert one.images.mean() == pytest.approx(4.0, abs=0.02)
    assert one.images.std() == pytest.approx(1.25, abs=0.02)
    points = grid.images.reshape(-1, 2)
    centres, counts = np.unique(points.round(), axis=0, return_counts=True)
    assert len(centres) == 25
    assert counts.min() > 2300
    assert (points - points.round()).std() == pytest.approx(0.05, abs=0.001)
    assert np.array_equal(one.batch(np.array([5]))[0], one.images[[5]])


# Holdout


def numbered(count: int) -> Dataset:
    """The pixel of each image is its index."""
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Dataset("numbered", images, np.arange(count, dtype=np.int64) % 3, ("a", "b", "c"))


def test_a_split_puts_every_sample_with_its_label_on_one_side() -> None:
    whole = numbered(200)

    train, held_out = whole.split(0.1)

    assert (len(train), len(held_out)) == (180, 20)
    assert sorted([*train.images.flat, *held_out.images.flat]) == list(range(200))
    for part in (train, held_out):
        assert part.labels is not None
        assert (part.images.ravel() % 3 == part.labels).all()
        assert (np.diff(part.images.ravel().astype(int)) > 0).all()
        assert part.class_names == whole.class_names


def test_the_holdout_depends_only_on_the_number_of_samples() -> None:
    one, other = numbered(200), Dataset("other", np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1))

    assert np.array_equal(one.split(0.1)[1].images, other.split(0.1)[1].images)
    # Pinned, so that scores stay comparable between versions of the trainer.
    assert one.split(0.025)[1].images.ravel().tolist() == [11, 16, 29, 77, 132]
    assert set(numbered(199).split(0.1)[1].images.flat) != set(one.split(0.1)[1].images.flat)


def test_a_larger_holdout_contains_the_smaller_one() -> None:
    small, large = (set(numbered(200).split(share)[1].images.flat) for share in (0.1, 0.2))

    assert small < large


def test_a_stratified_split_takes_the_same_share_of_every_class() -> None:
    """The rows are golden: a saved run must go on without the same validation images."""
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    whole = Dataset("counted", images, np.repeat([0, 1], [14, 6]), ("a", "b"))

    rest, validation = whole.stratified_split(0.3)

    assert validation.images.ravel().tolist() == [1, 4, 6, 13, 14, 15]
    assert rest.images.ravel().tolist() == [0, 2, 3, 5, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19]
    assert validation.labels is not None and validation.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert whole.stratified_split(0.0)[0] is whole
    plain, plain_validation = Dataset("plain", images).stratified_split(0.3)
    assert (len(plain), len(plain_validation)) == (14, 6)


def test_a_holdout_of_zero_copies_nothing() -> None:
    whole = numbered(20)

    train, held_out = whole.split(0.0)

    assert train is whole
    assert len(held_out) == 0


def test_toy_data_can_be_split_too() -> None:
    train, held_out = toy25().split(0.5)

    assert len(train) == len(held_out) == 32768
    assert train.images.dtype == np.float32
