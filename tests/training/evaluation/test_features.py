"""The feature space tells textures apart, and sharpness tells blur and noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import scales
from models.errors import MetricError
from tests.training.evaluation.test_copies import blobs
from training.evaluation import features
from training.evaluation.data_split import DataSplit
from training.evaluation.features import NUM_FEATURES, EfficientNetSpace
from training.evaluation.metrics import frechet_distance
from training.evaluation.sharpness import sharpness


@pytest.fixture(scope="module")
def space(digits: DataSplit) -> EfficientNetSpace:
    return EfficientNetSpace(features.fit(digits.train.images))


def test_features_are_few_and_finite(space: EfficientNetSpace, digits: DataSplit) -> None:
    found = space.features(digits.compared.images)

    assert found.shape == (len(digits.compared), NUM_FEATURES) and found.dtype == np.float32
    assert np.isfinite(found).all()


def test_pixelated_digits_are_farther_than_real_ones(space: EfficientNetSpace, digits: DataSplit) -> None:
    real, other = space.features(digits.train.images[:150]), space.features(digits.compared.images)
    pixelated = space.features(scales.pixelate(digits.compared.images, 2))

    assert frechet_distance(real, pixelated) > 3 * frechet_distance(real, other)


def test_features_do_not_depend_on_the_number_of_threads(space: EfficientNetSpace, digits: DataSplit) -> None:
    expected = space.features(digits.compared.images)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = space.features(digits.compared.images)
    finally:
        torch.set_num_threads(before)

    assert np.array_equal(expected, again)


def test_images_that_are_all_alike_have_no_features() -> None:
    with pytest.raises(MetricError, match="the training images are all alike"):
        features.fit(np.repeat(blobs(0, 1), 10, axis=0))


def test_sharpness_falls_with_blur_and_rises_with_noise() -> None:
    real, other = blobs(0, 50), blobs(1, 50)

    assert sharpness(real, other) == pytest.approx(1.0, abs=0.1)
    assert sharpness(real, scales.blur(other, 2.0)) < 0.7
    assert sharpness(real, scales.add_noise(other, 25)) > 1.4


def test_sharpness_of_flat_or_tiny_images_is_refused() -> None:
    with pytest.raises(MetricError, match="no detail"):
        sharpness(np.zeros((5, 8, 8, 1), np.uint8), blobs(0, 5))
    with pytest.raises(MetricError, match="at least 3x3"):
        sharpness(blobs(0, 5, side=2), blobs(0, 5))
