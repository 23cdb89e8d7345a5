"""Compares a set of images with real test images: every metric that needs no training.

Generated images and real training images (the baseline) go through the same functions, so that only the images differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.errors import MetricError
from training.evaluation import metrics
from training.evaluation.classifier import Images, Predictions
from training.evaluation.features import FeatureSpace, flatten_pixels
from training.evaluation.metrics import Features
from training.evaluation.protocol import Protocol
from training.metric_results import Measurement, MetricName, try_measure


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with what the metrics need to know of them.

    Attributes:
        images: uint8 (n, H, W, C).
        features: float32 (n, d).
        predictions: of the real-data classifier; None if there is none.
    """

    images: Images
    features: Features
    predictions: Predictions | None

    @classmethod
    def create(cls, images: Images, space: FeatureSpace, predictions: Predictions | None) -> ImageSet:
        """Compute the features, or take those that the classifier has computed already."""
        features = space.features(images) if predictions is None else predictions.features
        return cls(images, features, predictions)


def compute_distribution_metrics(
    real: ImageSet, fake: ImageSet, real_labels: NDArray[np.int64] | None, protocol: Protocol
) -> dict[MetricName, Measurement]:
    """Compute how `fake` differs from `real`.

    Args:
        real: the reference.
        fake: the images to measure.
        real_labels: int64 (n,), the classes of the real images; None if they have none.
        protocol: sample sizes and settings.
    """
    results = compute_feature_metrics(real.features, fake.features, protocol)
    results["inception_score"] = try_measure(lambda: _inception_score(fake, protocol))
    results["class_balance"] = try_measure(lambda: _class_imbalance(fake, real_labels))
    results["ndb"] = try_measure(
        lambda: metrics.different_bins(
            flatten_pixels(real.images), flatten_pixels(fake.images), protocol.bins, protocol.seed
        )
    )
    return results


def compute_feature_metrics(real: Features, fake: Features, protocol: Protocol) -> dict[MetricName, Measurement]:
    """Compute the metrics that need only features, float32 (n, d)."""

    @cache
    def precision_recall() -> tuple[float, float]:
        return metrics.precision_recall(real, fake, protocol.precision_k)

    @cache
    def density_coverage() -> tuple[float, float]:
        return metrics.density_coverage(real, fake, protocol.coverage_k)

    return {
        "fd": try_measure(lambda: metrics.frechet_distance(real, fake)),
        "kid": try_measure(
            lambda: metrics.kernel_distance(real, fake, protocol.kid_subsets, protocol.kid_size, protocol.seed)
        ),
        "precision": try_measure(lambda: precision_recall()[0]),
        "recall": try_measure(lambda: precision_recall()[1]),
        "density": try_measure(lambda: density_coverage()[0]),
        "coverage": try_measure(lambda: density_coverage()[1]),
    }


def _inception_score(fake: ImageSet, protocol: Protocol) -> tuple[float, float]:
    return metrics.inception_score(_require_predictions(fake).probabilities, protocol.score_splits)


def _class_imbalance(fake: ImageSet, real_labels: NDArray[np.int64] | None) -> float:
    """Return the total variation distance between the predicted classes of `fake` and the real labels."""
    predictions = _require_predictions(fake)
    if real_labels is None:
        raise MetricError("the data has no labels")
    num_classes = predictions.probabilities.shape[1]
    real_shares = np.bincount(real_labels, minlength=num_classes) / len(real_labels)
    fake_shares = np.bincount(predictions.labels, minlength=num_classes) / len(predictions.labels)
    return float(np.abs(real_shares - fake_shares).sum() / 2)


def _require_predictions(image_set: ImageSet) -> Predictions:
    if image_set.predictions is None:
        raise MetricError("it needs a classifier, and the data has no labels to train one on")
    return image_set.predictions
