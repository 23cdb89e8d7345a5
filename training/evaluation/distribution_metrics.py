"""Compares a set of images with real test images: every metric that needs no training.

Generated images and real training images (the baseline) go through the same functions, so that only the images differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.errors import MetricError
from training.evaluation import metrics
from training.evaluation.classifier import Images, Predictions
from training.evaluation.features import flatten_pixels
from training.evaluation.metrics import Features
from training.evaluation.protocol import Protocol
from training.evaluation.real_images import MAX_STAND_IN_SHARE
from training.evaluation.sharpness import sharpness
from training.metric_results import CLASSIFIER, Measurement, MetricName, try_measure

# The metrics that need only features.
FEATURE_METRICS: tuple[MetricName, ...] = ("fd", "kid", "precision", "recall", "density", "coverage")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with what the metrics need to know of them.

    Attributes:
        images: uint8 (n, H, W, C).
        features: float32 (n, d); None if there is no feature space.
        predictions: of the real-data classifier; None if there is none.
    """

    images: Images
    features: Features | None
    predictions: Predictions | None


def compute_distribution_metrics(
    real: ImageSet, fake: ImageSet, real_labels: NDArray[np.int64] | None, protocol: Protocol, space_problem: str = ""
) -> dict[str, Measurement]:
    """Compute how `fake` differs from `real`; in the classifier's features too, with the prefix CLASSIFIER.

    Args:
        real: the reference.
        fake: the images to measure.
        real_labels: int64 (n,), the classes of the real images; None if they have none.
        protocol: sample sizes and settings.
        space_problem: why there are no features.
    """
    results: dict[str, Measurement] = {}
    if real.features is None or fake.features is None:
        results.update({name: Measurement(problem=space_problem) for name in FEATURE_METRICS})
    else:
        results |= {
            str(name): value for name, value in compute_feature_metrics(real.features, fake.features, protocol).items()
        }
    if real.predictions is not None and fake.predictions is not None:
        by_name = compute_feature_metrics(real.predictions.features, fake.predictions.features, protocol)
        results.update({CLASSIFIER + name: value for name, value in by_name.items()})
    results["sharpness"] = try_measure(lambda: sharpness(real.images, fake.images))
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

    if problem := _find_problem(real, fake, protocol):
        return {name: Measurement(problem=problem) for name in FEATURE_METRICS}

    kid_size = min(protocol.kid_size, len(real) // 2, len(fake) // 2)

    @cache
    def precision_recall() -> tuple[float, float]:
        return metrics.precision_recall(real, fake, protocol.precision_k)

    @cache
    def density_coverage() -> tuple[float, float]:
        return metrics.density_coverage(real, fake, protocol.coverage_k)

    return {
        "fd": try_measure(lambda: metrics.frechet_distance(real, fake)),
        "kid": try_measure(lambda: metrics.kernel_distance(real, fake, protocol.kid_subsets, kid_size, protocol.seed)),
        "precision": try_measure(lambda: precision_recall()[0]),
        "recall": try_measure(lambda: precision_recall()[1]),
        "density": try_measure(lambda: density_coverage()[0]),
        "coverage": try_measure(lambda: density_coverage()[1]),
    }


def _find_problem(real: Features, fake: Features, protocol: Protocol) -> str:
    """Say why no distance between these features has a meaning; empty if they have one."""
    count = min(len(real), len(fake))
    if count < protocol.min_images:
        needed = f"it needs at least {protocol.min_images:,} images a side, there are {count:,}"
        left = f"leave {math.ceil(protocol.min_images / MAX_STAND_IN_SHARE):,} images to train on"
        return f"{needed}; data.holdout and data.validation keep more in a new training, but {left}"
    if not np.ptp(real, axis=0).any():
        return "the real images are all alike"
    return ""


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
        raise MetricError("it needs a classifier, and the data has no classes to train one on")
    return image_set.predictions
