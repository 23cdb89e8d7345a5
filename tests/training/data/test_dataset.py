"""What a data set is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.data.samples import (
    random_pixels,
    write_npz,
)
from training.data.dataset import Dataset
from training.data.loader import load_dataset


def test_a_batch_of_images_is_scaled_to_minus_one_to_one(tmp_path: Path) -> None:
    images = np.array([0, 255, 51], np.uint8).reshape(1, 1, 1, 3)
    floats, labels = load_dataset(write_npz(tmp_path / "set.npz", images=images, labels=[0])).batch(np.array([0, 0]))
    assert floats.shape == (2, 3, 1, 1)
    assert floats.dtype == np.float32
    assert floats.flags["C_CONTIGUOUS"]
    assert floats[0].ravel().tolist() == pytest.approx([-1.0, 1.0, -0.6])
    assert labels.tolist() == [0, 0]


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
