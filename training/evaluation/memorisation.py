"""Measures how close images are to training images, in pixels under small changes and in features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.errors import MetricError
from training.evaluation import metrics
from training.evaluation.classifier import Images
from training.evaluation.copies import CopyFinder
from training.evaluation.features import FeatureSpace
from training.evaluation.metrics import Features, Neighbours
from training.evaluation.protocol import Protocol
from training.metric_results import Measurement, try_measure


@dataclass(frozen=True, eq=False)
class Closeness:
    """How close images are to training images.

    Attributes:
        neighbours: in pixels, under small changes; None if they could not be measured.
        near_copies: share of the images that are near-copies in pixels.
        feature_copies: the same in features.
    """

    neighbours: Neighbours | None
    near_copies: Measurement
    feature_copies: Measurement


class TrainingImages:
    """The training images, ready to be searched.

    Args:
        images: uint8 (m, H, W, C).
        space: where features are computed; None if there is none.
        features: of the training images, float32 (m, d); None without a space.
        space_problem: why there is no space.
        protocol: how many neighbours are compared, and what share of their distance makes a near-copy.
    """

    def __init__(
        self,
        images: Images,
        space: FeatureSpace | None,
        features: Features | None,
        space_problem: str,
        protocol: Protocol,
    ) -> None:
        self._space = space
        self._features = features
        self._space_problem = space_problem
        self._share = protocol.copy_share
        self._k = min(protocol.neighbours, len(images) - 1)
        self._problem = ""
        try:
            self._finder = CopyFinder(images, self._k)
        except MetricError as error:
            self._problem = str(error)

    def search(self, images: Images, features: Features | None) -> Closeness:
        """Search for the training image nearest to each image.

        Args:
            images: uint8 (n, H, W, C).
            features: of the images, float32 (n, d); None without a space.
        """
        in_features = try_measure(lambda: self._feature_copies(images, features))
        if self._problem:
            return Closeness(None, Measurement(problem=self._problem), in_features)
        neighbours = self._finder.search(images)
        near_copies = Measurement(float(neighbours.is_near_copy(self._share).mean()))
        return Closeness(neighbours, near_copies, in_features)

    def _feature_copies(self, images: Images, features: Features | None) -> float:
        if self._space is None or self._features is None or features is None:
            raise MetricError(self._space_problem)
        mirrored = self._space.features(images[:, :, ::-1])
        is_copy = np.zeros(len(images), bool)
        for queries in (features, mirrored):
            is_copy |= metrics.nearest_neighbours(queries, self._features, self._k).is_near_copy(self._share)
        return float(is_copy.mean())


def distance_ratio(neighbours: Neighbours, test_distances: Features) -> float:
    """Return the median distance to the nearest training image over that of held-out real images.

    Raises:
        MetricError: half of the held-out images are copies of training images.
    """
    usual = float(np.median(test_distances)) if len(test_distances) else 0.0
    if not usual:
        raise MetricError("half of the held-out images are copies of training images")
    return float(np.median(neighbours.distance)) / usual
