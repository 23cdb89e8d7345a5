"""Define what a data set is.

Not here: reading files (training.data.loader), the toy data (training.data.toys), splits (training.data.split).
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.allocation import allocate
from training.data.labels import MAX_COMBINATIONS, LabelFactor, find_values

DIGEST_CHUNK = 4096


class Origins(NamedTuple):
    """What each image was before it was brought to a size.

    Attributes:
        names: of the files, as the data set has them.
        boxes: int32 (N, 4), the part that was used: left, top, right, bottom in pixels of the upright image.
        enlarged: how many had fewer pixels than the size.
    """

    names: tuple[str, ...]
    boxes: NDArray[np.int32]
    enlarged: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled or unlabelled samples in memory, or memory-mapped.

    Attributes:
        name: the name in messages.
        images: uint8 (N, H, W, C) for images, float32 (N, dim, 1, 1) for points.
        labels: int64 (N,) in 0 .. len(class_names) - 1, or None.
        class_names: one name per class, in label order; empty when unlabelled.
        unused: names of the files beside the images that were not read; no part of the digest.
        origins: of a whole set that was brought to a size; no part of the digest.
        skipped: names of the damaged images that were left out; no part of the digest.
        factors: the columns whose values make the label, where such were chosen; no part of the digest.
        has_continuous_label: whether the classes are the values of a scale (training.data.label_scale).
    """

    name: str
    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = field(default=())
    unused: tuple[str, ...] = field(default=())
    origins: Origins | None = None
    skipped: tuple[str, ...] = field(default=())
    factors: tuple[LabelFactor, ...] = field(default=())
    has_continuous_label: bool = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_images(self) -> bool:
        """Whether the samples are images rather than points."""
        return bool(self.images.dtype == np.uint8)

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 when unlabelled."""
        return len(self.class_names)

    @property
    def groups(self) -> NDArray[np.int64]:
        """The groups of which each part gets its share, int64 (n,): the classes; one if there are none or a scale."""
        if self.labels is None or self.has_continuous_label:
            return np.zeros(len(self), np.int64)
        return self.labels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one sample."""
        if self.has_images:
            height, width, channels = self.images.shape[1:]
            return channels, height, width
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def label_values(self) -> dict[str, tuple[str, ...]]:
        """The value of each factor in every class, in label order; empty where classes have one name only."""
        if self.has_continuous_label:
            return {self.factors[0].column: self.class_names}
        return find_values(self.factors, self.class_names)

    @cached_property
    def digest(self) -> str:
        """sha256 over shape, pixels, labels and class names; a manifest identifies the data by it."""
        digest = hashlib.sha256(repr((self.images.shape, str(self.images.dtype), self.class_names)).encode())
        for start in range(0, len(self), DIGEST_CHUNK):
            digest.update(np.ascontiguousarray(self.images[start : start + DIGEST_CHUNK]).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").data)
        return digest.hexdigest()

    def take(self, indices: NDArray[np.int64]) -> Dataset:
        """Return the samples of ascending indices, all different; this set itself if they are all."""
        if len(indices) == len(self):
            return self
        labels = None if self.labels is None else self.labels[indices]
        images = _take_rows(self.images, indices, self.name)
        return dataclasses.replace(self, images=images, labels=labels, origins=None, skipped=())

    def with_classes(self, class_names: tuple[str, ...]) -> Dataset:
        """Return this with its labels numbered by other classes, which include its own."""
        if self.labels is None or self.class_names == class_names:
            return self
        numbers = np.array([class_names.index(name) for name in self.class_names], np.int64)
        return dataclasses.replace(self, labels=numbers[self.labels], class_names=class_names)

    def with_all_combinations(self) -> Dataset:
        """Return this with a class for every combination of its factors' values, in their order, seen or not.

        Raises: DataError if there are no two factors, or too many combinations, or two with one name.
        """
        path = Path(self.name)
        if len(self.factors) < 2:
            raise DataError(path, "has no two labels to combine; name at least two columns in data.label_columns")
        count = math.prod(len(factor.values) for factor in self.factors)
        if count > MAX_COMBINATIONS:
            raise DataError(
                path,
                f"has {count:,} combinations of its labels, at most {MAX_COMBINATIONS:,} are possible; name fewer "
                "columns in data.label_columns, or give several values one name there",
            )
        names = tuple(map(" ".join, itertools.product(*(factor.values for factor in self.factors))))
        if len(set(names)) < len(names):
            raise DataError(path, "has two combinations of labels with one name; rename values in data.label_columns")
        return self.with_classes(names)

    def without_labels(self) -> Dataset:
        """Return this without labels and classes."""
        return dataclasses.replace(self, labels=None, class_names=(), factors=(), has_continuous_label=False)

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return samples by index.

        Returns: float32 (n, C, H, W), pixels scaled to -1 .. 1, points unchanged; labels int64 (n,),
        zeros when unlabelled.
        """
        samples = self.images[indices]
        labels = np.zeros(len(indices), np.int64) if self.labels is None else self.labels[indices]
        if samples.dtype == np.uint8:
            scaled = samples.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1.0)
            return np.ascontiguousarray(scaled), labels
        return samples.astype(np.float32), labels


def _take_rows(
    images: NDArray[np.uint8] | NDArray[np.float32], indices: NDArray[np.int64], name: str
) -> NDArray[np.uint8] | NDArray[np.float32]:
    if images.dtype != np.uint8:
        return images[indices]
    rows = allocate((len(indices), *images.shape[1:]), Path(name), is_mapped=isinstance(images, np.memmap))
    # With the default mode "raise", numpy would buffer the whole output.
    np.take(images, indices, axis=0, out=rows, mode="clip")
    return rows


def number_classes(
    labels: NDArray[np.int64], names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Number the classes that occur from 0, in order of their labels.

    Args:
        labels: integers (N,), which may have gaps.
        names: the name of each label; if not given, labels are their own names.
    Returns: labels int64 (N,) in 0 .. classes - 1, and the name of each class.
    """
    occurring, numbers = np.unique(labels, return_inverse=True)
    class_names = tuple(str(label) if names is None else str(names[label]) for label in occurring)
    return numbers.reshape(-1).astype(np.int64), class_names
