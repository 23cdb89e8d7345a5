"""Computes the reference statistics: what depends on the real images only, among it the baseline of every metric.

Not here: generators, and how the statistics are kept (training.evaluation.reference_cache).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError, MetricError
from training.data.dataset import Dataset
from training.evaluation import classifier, features
from training.evaluation.classifier import Classifier, Images
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import ImageSet, compute_distribution_metrics
from training.evaluation.features import EfficientNetSpace, Standard
from training.evaluation.memorisation import TrainingImages
from training.evaluation.metrics import Features
from training.evaluation.protocol import Protocol
from training.evaluation.real_images import RealImages
from training.evaluation.reference_cache import RealMeasurements, cache_key, read_cache, write_cache
from training.metric_results import Measurement
from training.progress import ProgressCallback


@dataclass(frozen=True, eq=False)
class ReferenceStats:
    """The real half of every comparison.

    Attributes:
        split: the real images.
        real: which of them have which role.
        space: where distances are measured; None if there is no such space.
        test: the images to which distances are measured.
        test_labels: int64, the classes of these; None if the data has no labels.
        training_images: the training images, ready to be searched for copies.
        measurements: what is measured of the real images.
        is_cached: True if the measurements come from the cache.
    """

    split: DataSplit
    real: RealImages
    space: EfficientNetSpace | None
    test: ImageSet
    test_labels: NDArray[np.int64] | None
    training_images: TrainingImages
    measurements: RealMeasurements
    is_cached: bool

    @property
    def train(self) -> Dataset:
        return self.split.train

    @property
    def num_compared(self) -> int:
        """How many images are on each side of a distance."""
        return self.real.num_compared

    @property
    def judges(self) -> tuple[Classifier, ...]:
        """Classifiers trained on real images; empty if there are no classes."""
        return self.measurements.judges

    def image_set(self, images: Images) -> ImageSet:
        """Compute what the metrics need to know of images."""
        return _image_set(images, self.space, self.judges)


def compute_reference(
    split: DataSplit, protocol: Protocol, cache_dir: Path | None, progress: ProgressCallback
) -> ReferenceStats:
    """Measure the real images, or read what an earlier evaluation measured.

    Args:
        split: the real images.
        protocol: sample sizes and settings.
        cache_dir: where measurements are kept; None to keep none.
        progress: called after each part.
    """
    real = RealImages.select(split, protocol)
    cache_file = cache_dir and cache_dir / f"{cache_key(split, protocol)}.npz"
    cached = read_cache(cache_file, split, protocol) if cache_file else None
    judges = cached.judges if cached else _train_judges(split, real, protocol, progress)
    standard, problem = (cached.standard, cached.space_problem) if cached else _fit_space(split.train, real)
    space = EfficientNetSpace(standard) if standard else None
    train_features = cached.train_features if cached else _train_features(split.train, space, progress)
    test = _image_set(split.compared.images[real.compared_rows], space, judges)
    groups = split.compared.groups
    labels = None if groups is None else groups[real.compared_rows]
    training_images = TrainingImages(split.train.images, space, train_features, problem, protocol)
    if cached:
        return ReferenceStats(split, real, space, test, labels, training_images, cached, is_cached=True)
    progress("real images compared", 0, 1)
    stand_ins = _image_set(real.stand_ins, space, judges)
    baselines = compute_distribution_metrics(test, stand_ins, labels, protocol, problem)
    closeness = training_images.search(test.images, test.features)
    baselines |= {
        "distance_ratio": Measurement(1.0),
        "near_copies": closeness.near_copies,
        "feature_copies": closeness.feature_copies,
    }
    is_correct = classifier.find_correct(judges, split.compared.images, split.compared.labels)
    if judges:
        accuracy = mean_and_sd(is_correct.mean(axis=1))
        baselines |= {"gan_train": accuracy, "gan_test": accuracy}
    progress("real images compared", 1, 1)
    measurements = RealMeasurements(
        judges,
        baselines,
        _accuracy_by_class(is_correct, split.compared),
        np.empty(0, np.float32) if closeness.neighbours is None else closeness.neighbours.distance,
        standard,
        train_features,
        problem,
    )
    if cache_file:
        try:
            write_cache(cache_file, measurements)
        except OSError as error:
            # What was measured is not lost for a copy that only saves time.
            print(f"Warning: {error}, so the next evaluation measures the real images again.", file=sys.stderr)
    return ReferenceStats(split, real, space, test, labels, training_images, measurements, is_cached=False)


def mean_and_sd(values: NDArray[np.float64]) -> Measurement:
    """Return the mean over seeds with its standard deviation, which one seed does not have."""
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Measurement(float(values.mean()), sd)


def mean_by_class(
    values: NDArray[np.float64] | NDArray[np.bool_], labels: NDArray[np.int64], num_classes: int
) -> NDArray[np.float64]:
    """Return the mean of the values, or share of true ones, in each class; NaN for a class without images."""
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=values, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _accuracy_by_class(is_correct: NDArray[np.bool_], compared: Dataset) -> NDArray[np.float64]:
    """Return the judges' accuracy on each class; empty without judges."""
    if not len(is_correct) or compared.labels is None:
        return np.empty(0)
    return mean_by_class(is_correct.mean(axis=0), compared.labels, len(compared.class_names))


def _image_set(images: Images, space: EfficientNetSpace | None, judges: tuple[Classifier, ...]) -> ImageSet:
    return ImageSet(images, space.features(images) if space else None, judges[0].predict(images) if judges else None)


def _train_judges(
    split: DataSplit, real: RealImages, protocol: Protocol, progress: ProgressCallback
) -> tuple[Classifier, ...]:
    train = split.train
    # With one class there is nothing to tell apart.
    if train.groups is None or split.compared.groups is None or len(train.class_names) < 2:
        return ()
    rows = real.judge_rows[: real.gan_train_count]
    return classifier.train_several(
        train.images[rows],
        train.groups[rows],
        len(train.class_names),
        protocol.classifier,
        protocol.classifier_seeds,
        split.mirror,
        progress,
        step_name="classifiers on real images",
    )


def _fit_space(train: Dataset, real: RealImages) -> tuple[Standard | None, str]:
    """Return the usual statistics of real images, or why there are none."""
    try:
        return features.fit(train.images[real.judge_rows[: features.FITTED_IMAGES]]), ""
    except InputError as error:
        return None, error.reason
    except MetricError as error:
        return None, str(error)


def _train_features(train: Dataset, space: EfficientNetSpace | None, progress: ProgressCallback) -> Features | None:
    if space is None:
        return None
    progress("features of training images", 0, 1)
    found = space.features(train.images)
    progress("features of training images", 1, 1)
    return found
