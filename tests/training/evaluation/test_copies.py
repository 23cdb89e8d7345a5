"""Copies of training images are found under small changes; new images are not copies."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import scales
from models.errors import MetricError
from training.evaluation.classifier import Images
from training.evaluation.copies import CopyFinder
from training.evaluation.data_split import DataSplit

K = 20
SHARE = 0.3


def blobs(seed: int, count: int, side: int = 32, channels: int = 3) -> Images:
    """Return smooth random images, uint8 (n, side, side, channels)."""
    noise = np.random.RandomState(seed).randint(0, 256, (count, side, side, channels)).astype(np.uint8)
    x = scales.blur(noise, 2.0).astype(np.float64) - 127.5
    smooth: Images = (127.5 + 60 * x / x.std(axis=(1, 2, 3), keepdims=True)).clip(0, 220).astype(np.uint8)
    return smooth


@pytest.fixture(scope="module")
def pool(digits: DataSplit) -> Images:
    return digits.train.images


@pytest.mark.parametrize("name", [*scales.copies(np.zeros((1, 28, 28, 1), np.uint8))])
def test_changed_copies_are_found_among_digits(pool: Images, name: str) -> None:
    found = CopyFinder(pool, K).search(scales.copies(pool[:100])[name])

    assert found.is_near_copy(SHARE).mean() >= 0.95
    assert (found.nearest_row == np.arange(100)).mean() >= 0.95


def test_mirrored_and_shifted_copies_are_found_among_colour_images() -> None:
    pool = blobs(0, 200)
    for images in scales.copies(pool[:40]).values():
        assert CopyFinder(pool, K).search(images).is_near_copy(SHARE).all()


def test_new_images_are_no_copies(pool: Images, digits: DataSplit) -> None:
    assert not CopyFinder(pool, K).search(digits.compared.images).is_near_copy(SHARE).any()
    assert not CopyFinder(blobs(0, 200), K).search(blobs(1, 50)).is_near_copy(SHARE).any()


def test_a_verbatim_copy_has_distance_zero_whatever_stands_beside_it(pool: Images) -> None:
    finder = CopyFinder(pool, K)
    alone, crowd = finder.search(pool[3:4]), finder.search(pool[:120])

    assert alone.distance[0] == pytest.approx(0.0, abs=2e-3)
    assert crowd.distance[3] == pytest.approx(alone.distance[0], abs=2e-3)


def test_flat_images_are_copies_of_one_another_only(pool: Images) -> None:
    flat = np.full_like(pool[:1], 7)
    with_flat = np.concatenate([np.full_like(pool[:1], 200), pool])

    assert CopyFinder(with_flat, K).search(flat).distance[0] == 0.0
    distances = CopyFinder(pool, K).search(flat)
    assert distances.distance[0] == pytest.approx(1.0, abs=1e-3) and np.isfinite(distances.mean_distance).all()


def test_too_few_or_too_small_images_are_refused() -> None:
    with pytest.raises(MetricError, match="needs at least 21 training images, there are 20"):
        CopyFinder(blobs(0, 20), K)
    with pytest.raises(MetricError, match="at least 8x8 pixels"):
        CopyFinder(np.zeros((30, 6, 6, 1), np.uint8), K)
