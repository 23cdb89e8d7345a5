"""Computes the reference statistics: what depends on the real images only, among it the baseline of every metric.

They are cached under a key of the data, the protocol and the platform. Not here: generators.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.files import write_atomically
from training.data.dataset import Dataset
from training.evaluation import classifier, metrics
from training.evaluation.classifier import Classifier, Images
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import ImageSet, compute_distribution_metrics
from training.evaluation.features import ClassifierSpace, FeatureSpace, PixelSpace, flatten_pixels
from training.evaluation.protocol import Protocol
from training.metric_results import Measurement, MetricName, try_measure
from training.progress import ProgressCallback


@dataclass(frozen=True, eq=False)
class RealMeasurements:
    """What is measured of real images, and cached.

    Attributes:
        classifier: trained on real images; None if they have no labels.
        baselines: the metrics of real training images in place of generated ones.
        class_accuracies: float64 (num_classes,), of the classifier on all test images; NaN for a class without any.
        test_distances: float32 (n,), from each compared test image to its nearest training image, in pixels.
    """

    classifier: Classifier | None
    baselines: dict[MetricName, Measurement]
    class_accuracies: NDArray[np.float64]
    test_distances: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ReferenceStats:
    """The real half of every comparison.

    Attributes:
        split: the real images.
        order: int64, a fixed order of the training images; generated images get their labels in this order.
        num_compared: how many images are on each side of a distance.
        feature_space: where distances are measured.
        test: the test images to which distances are measured.
        test_labels: int64, the classes of these; None if the data has no labels.
        measurements: what is measured of the real images.
        is_cached: True if the measurements come from the cache.
    """

    split: DataSplit
    order: NDArray[np.int64]
    num_compared: int
    feature_space: FeatureSpace
    test: ImageSet
    test_labels: NDArray[np.int64] | None
    measurements: RealMeasurements
    is_cached: bool

    @property
    def train(self) -> Dataset:
        return self.split.train

    @property
    def classifier(self) -> Classifier | None:
        return self.measurements.classifier

    @property
    def baseline_images(self) -> Images:
        """The training images that are compared with the test images as generated images are."""
        return self.train.images[self.order[: self.num_compared]]


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
    order = np.random.RandomState(protocol.seed % 2**32).permutation(len(split.train))
    num_compared = min(protocol.compared_images, len(split.compared), len(split.train))
    cache_file = cache_dir and cache_dir / f"{_cache_key(split, protocol)}.npz"
    cached = _read_cache(cache_file, split, protocol) if cache_file else None
    real_classifier = cached.classifier if cached else _train_classifier(split, order, protocol, progress)
    space = ClassifierSpace(real_classifier) if real_classifier else PixelSpace()
    test_rows = np.random.RandomState(protocol.seed % 2**32).permutation(len(split.compared))[:num_compared]
    test = _image_set(split.compared.images[test_rows], space, real_classifier)
    test_labels = None if split.compared.labels is None else split.compared.labels[test_rows]
    if cached:
        return ReferenceStats(split, order, num_compared, space, test, test_labels, cached, is_cached=True)
    progress("real images compared", 0, 1)
    baseline = _image_set(split.train.images[order[:num_compared]], space, real_classifier)
    baselines = compute_distribution_metrics(test, baseline, test_labels, protocol)
    near_copies, test_distances = _measure_memorisation(split, test.images, protocol)
    baselines["distance_ratio"] = Measurement(1.0)
    baselines["near_copies"] = near_copies
    if real_classifier:
        accuracy = Measurement(_accuracy(real_classifier, split.compared))
        baselines["gan_train"] = accuracy
        baselines["gan_test"] = accuracy
    class_accuracies = _class_accuracies(real_classifier, split.compared)
    progress("real images compared", 1, 1)
    measurements = RealMeasurements(real_classifier, baselines, class_accuracies, test_distances)
    if cache_file:
        _write_cache(cache_file, measurements)
    return ReferenceStats(split, order, num_compared, space, test, test_labels, measurements, is_cached=False)


def count_gan_train_images(split: DataSplit, protocol: Protocol) -> int:
    """Return how many images both classifiers learn from."""
    return min(protocol.gan_train_images, len(split.train))


def mean_by_class(values: NDArray[np.bool_], labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """Return the share of true values in each class, float64 (num_classes,); NaN for a class without images."""
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels, weights=values, minlength=num_classes)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def default_cache_dir() -> Path:
    """Return GANMINT_CACHE, or `ganmint` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    if chosen := os.environ.get("GANMINT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganmint"


def _accuracy(real_classifier: Classifier, test: Dataset) -> float:
    assert test.labels is not None
    return float((real_classifier.predict(test.images).labels == test.labels).mean())


def _class_accuracies(real_classifier: Classifier | None, test: Dataset) -> NDArray[np.float64]:
    """Return the accuracy on each class; empty without a classifier."""
    if real_classifier is None or test.labels is None:
        return np.empty(0)
    is_correct = real_classifier.predict(test.images).labels == test.labels
    return mean_by_class(is_correct, test.labels, len(test.class_names))


def _image_set(images: Images, space: FeatureSpace, real_classifier: Classifier | None) -> ImageSet:
    return ImageSet.create(images, space, real_classifier.predict(images) if real_classifier else None)


def _train_classifier(
    split: DataSplit, order: NDArray[np.int64], protocol: Protocol, progress: ProgressCallback
) -> Classifier | None:
    train = split.train
    if train.labels is None or split.compared.labels is None:
        return None
    rows = order[: count_gan_train_images(split, protocol)]
    return classifier.train(
        train.images[rows],
        train.labels[rows],
        len(train.class_names),
        protocol.classifier,
        split.mirror,
        progress,
        step_name="classifier on real images",
    )


def _measure_memorisation(
    split: DataSplit, test: Images, protocol: Protocol
) -> tuple[Measurement, NDArray[np.float32]]:
    """Return the share of near-copies among the test images, and their distances to the training images."""
    train = flatten_pixels(split.train.images)
    k = min(protocol.neighbours, len(train) - 1)
    neighbours = metrics.nearest_neighbours(flatten_pixels(test), train, k)
    near_copies = try_measure(lambda: float(neighbours.is_near_copy(protocol.copy_share).mean()))
    return near_copies, neighbours.distance


def _cache_key(split: DataSplit, protocol: Protocol) -> str:
    platform = torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.cuda.is_available()
    parts = (protocol.digest, split.train.digest, split.compared.digest, split.mirror, platform)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _write_cache(path: Path, measurements: RealMeasurements) -> None:
    real_classifier = measurements.classifier
    state = real_classifier.state() if real_classifier else {}
    facts = {"floors": measurements.baselines, "sha256": real_classifier.sha256 if real_classifier else ""}
    arrays: dict[str, Any] = {
        "facts": np.array(json.dumps(facts)),
        "accuracy": measurements.class_accuracies,
        "distance": measurements.test_distances,
        **{f"weight.{name}": array for name, array in state.items()},
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _read_cache(path: Path, split: DataSplit, protocol: Protocol) -> RealMeasurements | None:
    """Read a cache file; return None if it is missing or damaged, so that everything is measured again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        facts = json.loads(str(arrays["facts"]))
        state = {k.removeprefix("weight."): v for k, v in arrays.items() if k.startswith("weight.")}
        real_classifier = None
        if state:
            num_classes = len(split.train.class_names)
            real_classifier = Classifier.from_state(state, split.train.shape, num_classes, protocol.classifier)
        if facts["sha256"] != (real_classifier.sha256 if real_classifier else ""):
            return None
        baselines: dict[MetricName, Measurement] = {name: Measurement(*v) for name, v in facts["floors"].items()}
        return RealMeasurements(real_classifier, baselines, arrays["accuracy"], arrays["distance"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile):
        return None
