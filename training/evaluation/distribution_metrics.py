"""One set of images against real test images: every figure that needs no training.

Knows: which metric is measured in which space. Generated images and real training images (the floor)
go through the same function, so that nothing but the images differs. Does not know: where they are from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.errors import MetricError
from training.evaluation import metrics
from training.evaluation.classifier import Answers, Images
from training.evaluation.features import FeatureSpace, pixels
from training.evaluation.metrics import Features
from training.evaluation.protocol import Protocol
from training.metric_results import Measurement, MetricName, try_measure


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with all that the metrics want of them.

    Attributes:
        images: uint8 (n, H, W, C).
        features: float32 (n, d).
        answers: what the real-data classifier says of them, None where there is none.
    """

    images: Images
    features: Features
    answers: Answers | None


def compare(
    real: ImageSet, fake: ImageSet, real_labels: NDArray[np.int64] | None, protocol: Protocol
) -> dict[MetricName, Measurement]:
    """Distances of `fake` from `real`, in the features' space, but for NDB, which is of pixels.

    Args: real_labels, int64 (n,), the classes of the real images, for their shares.
    """
    return {
        **distances(real.features, fake.features, protocol),
        "inception_score": try_measure(lambda: _score(fake, protocol)),
        "class_balance": try_measure(lambda: _imbalance(fake, real_labels)),
        "ndb": try_measure(
            lambda: metrics.different_bins(pixels(real.images), pixels(fake.images), protocol.bins, protocol.seed)
        ),
    }


def distances(real: Features, fake: Features, protocol: Protocol) -> dict[MetricName, Measurement]:
    """The figures that need features only."""

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


def image_set(images: Images, space: FeatureSpace, answers: Answers | None) -> ImageSet:
    """The images with their features; the classifier's own are not computed twice."""
    return ImageSet(images, space.features(images) if answers is None else answers.features, answers)


def _score(fake: ImageSet, protocol: Protocol) -> tuple[float, float]:
    return metrics.inception_score(_answers(fake).probabilities, protocol.score_splits)


def _imbalance(fake: ImageSet, real_labels: NDArray[np.int64] | None) -> float:
    """Total variation distance between the classes seen in `fake` and those of the real images."""
    seen = _answers(fake)
    if real_labels is None:
        raise MetricError("the data has no labels")
    classes = seen.probabilities.shape[1]
    wanted = np.bincount(real_labels, minlength=classes) / len(real_labels)
    found = np.bincount(seen.labels, minlength=classes) / len(seen.labels)
    return float(np.abs(wanted - found).sum() / 2)


def _answers(images: ImageSet) -> Answers:
    if images.answers is None:
        raise MetricError("it needs a classifier, and the data has no labels to train one on")
    return images.answers
