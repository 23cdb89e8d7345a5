"""What depends on the real images only: the classifier of real images, and every floor.

Knows: how it is measured, and that it is kept between evaluations, under a key of the data, the
protocol and what the last bits depend on. Does not know: generators.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
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
from training.evaluation.distribution_metrics import ImageSet, compare, image_set
from training.evaluation.features import ClassifierSpace, FeatureSpace, PixelSpace, pixels
from training.evaluation.protocol import Protocol
from training.metric_results import Measurement, MetricName, try_measure

# What is done, how far, of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class ReferenceStats:
    """The real half of every comparison.

    Attributes:
        splits: where the images are from.
        order: a fixed order of the training images, int64; generated images get its labels, in turn.
        compared: how many images are on each side of a distance.
        classifier: trained on real images; None where they have no labels.
        test: the test images that distances are measured to.
        test_labels: of these, int64, or None.
        floors: the figures of real training images in a generator's place.
        class_accuracy: of the real-data classifier on each class of all test images, NaN where there are none.
        test_distance: from each test image of `test` to its nearest training image, of pixels.
        cached: whether it was measured earlier.
    """

    splits: DataSplit
    order: NDArray[np.int64]
    compared: int
    classifier: Classifier | None
    space: FeatureSpace
    test: ImageSet
    test_labels: NDArray[np.int64] | None
    floors: dict[MetricName, Measurement]
    class_accuracy: NDArray[np.float64]
    test_distance: NDArray[np.float32]
    cached: bool

    @property
    def train(self) -> Dataset:
        return self.splits.train


def compute_reference(splits: DataSplit, protocol: Protocol, cache: Path | None, progress: Progress) -> ReferenceStats:
    """Measure the real side, or read what an earlier evaluation measured.

    Args: cache, a folder for what is measured; None: nothing is kept.
    """
    order = np.random.RandomState(protocol.seed % 2**32).permutation(len(splits.train))
    compared = min(protocol.compared_images, len(splits.test), len(splits.train))
    kept = cache and cache / f"{_key(splits, protocol)}.npz"
    found = _read(kept, splits, protocol) if kept else None
    judge = found[0] if found else _classifier(splits, order, protocol, progress)
    space = ClassifierSpace(judge) if judge else PixelSpace()
    rows = np.random.RandomState(protocol.seed % 2**32).permutation(len(splits.test))[:compared]
    test = _set_of(splits.test.images[rows], space, judge)
    labels = None if splits.test.labels is None else splits.test.labels[rows]
    if found:
        return ReferenceStats(splits, order, compared, judge, space, test, labels, *found[1:], cached=True)
    progress("real images compared", 0, 1)
    stand_in = _set_of(splits.train.images[order[:compared]], space, judge)
    floors = compare(test, stand_in, labels, protocol)
    near, distance = _neighbours(splits, test.images, protocol)
    floors |= {"distance_ratio": Measurement(1.0), "near_copies": near}
    accuracy = class_accuracy(judge, splits.test)
    if judge:
        floors["gan_train"] = floors["gan_test"] = Measurement(overall(judge, splits.test))
    progress("real images compared", 1, 1)
    if kept:
        _write(kept, judge, floors, accuracy, distance)
    return ReferenceStats(splits, order, compared, judge, space, test, labels, floors, accuracy, distance, cached=False)


def gan_train_images(splits: DataSplit, protocol: Protocol) -> int:
    """On how many images both classifiers are trained."""
    return min(protocol.gan_train_images, len(splits.train))


def overall(judge: Classifier, test: Dataset) -> float:
    """The share of labelled images that the classifier reads rightly."""
    assert test.labels is not None
    return float((judge.answers(test.images).labels == test.labels).mean())


def class_accuracy(judge: Classifier | None, test: Dataset) -> NDArray[np.float64]:
    """The same for each class; empty without a classifier, NaN for a class without images."""
    if judge is None or test.labels is None:
        return np.empty(0)
    right = judge.answers(test.images).labels == test.labels
    return per_class(right, test.labels, len(test.class_names))


def per_class(right: NDArray[np.bool_], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """The share of `right` among the images of each class, NaN for a class without images."""
    counts = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels, weights=right, minlength=classes)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def _set_of(images: Images, space: FeatureSpace, judge: Classifier | None) -> ImageSet:
    return image_set(images, space, judge.answers(images) if judge else None)


def _classifier(
    splits: DataSplit, order: NDArray[np.int64], protocol: Protocol, progress: Progress
) -> Classifier | None:
    train = splits.train
    if train.labels is None or splits.test.labels is None:
        return None
    rows = order[: gan_train_images(splits, protocol)]
    return classifier.train(
        train.images[rows],
        train.labels[rows],
        len(train.class_names),
        protocol.classifier,
        splits.mirror,
        lambda done, of: progress("classifier on real images", done, of),
    )


def _neighbours(splits: DataSplit, test: Images, protocol: Protocol) -> tuple[Measurement, NDArray[np.float32]]:
    train = pixels(splits.train.images)
    k = min(protocol.neighbours, len(train) - 1)
    found = metrics.nearest(pixels(test), train, k)
    return try_measure(lambda: float(found.copies(protocol.copy_share).mean())), found.distance


def _key(splits: DataSplit, protocol: Protocol) -> str:
    fingerprint = torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.cuda.is_available()
    parts = (protocol.digest, splits.train.digest, splits.test.digest, splits.mirror, fingerprint)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cache_folder() -> Path:
    """GANMINT_CACHE, or `ganmint` in the user's cache folder (XDG_CACHE_HOME, ~/.cache)."""
    if chosen := os.environ.get("GANMINT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganmint"


_Kept = tuple[Classifier | None, dict[MetricName, Measurement], NDArray[np.float64], NDArray[np.float32]]


def _write(
    path: Path,
    judge: Classifier | None,
    floors: dict[MetricName, Measurement],
    accuracy: NDArray[np.float64],
    distance: NDArray[np.float32],
) -> None:
    weights = {f"weight.{name}": array for name, array in (judge.state() if judge else {}).items()}
    facts = {"floors": floors, "sha256": judge.sha256 if judge else ""}
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"facts": np.array(json.dumps(facts)), "accuracy": accuracy, "distance": distance}
    np.savez(buffer, **{**arrays, **weights})
    write_atomically(path, buffer.getvalue())


def _read(path: Path, splits: DataSplit, protocol: Protocol) -> _Kept | None:
    """What is kept there, or None if it is not there or not whole: then it is measured again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        facts = json.loads(str(arrays["facts"]))
        weights = {k.removeprefix("weight."): v for k, v in arrays.items() if k.startswith("weight.")}
        judge = None
        if weights:
            shape, classes = splits.train.shape, len(splits.train.class_names)
            judge = Classifier.restored(weights, shape, classes, protocol.classifier)
        if facts["sha256"] != (judge.sha256 if judge else ""):
            return None
        floors: dict[MetricName, Measurement] = {name: Measurement(*values) for name, values in facts["floors"].items()}
        return judge, floors, arrays["accuracy"], arrays["distance"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile):
        return None
