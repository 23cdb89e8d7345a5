"""Random streams: every random number of a run as a pure function of its seed and the images shown so far."""

from __future__ import annotations

import numpy as np
from numpy.random import Philox, RandomState
from numpy.typing import NDArray

from training.distributed import SINGLE, ProcessGroup

# Second words of the Philox key; 1 is the latents' own (models.latents).
# 7 to 9 belonged to settings that were removed.
DATA = 2
NOISE = 3
MIRROR = 4
HOLDOUT = 5
AUGMENT = 6
VALIDATION = 10
PRIOR = 11


def stream(seed: int, purpose: int, counter: int, part: int = 0) -> RandomState:
    """Return the generator for one purpose at one counter, independent of all others."""
    return RandomState(Philox(key=[seed, purpose], counter=[0, part, counter, 0]))


class RngStreams:
    """The random numbers of each step.

    Args:
        seed: the run's seed.
        batch: images per step, in all processes.
        size: number of images in the data set.
        group: decides which rows of a batch are this process's.
        labels: class ids of the data set, int64 (size,), where classes are not shown as often as they occur.
        class_sampling_power: an epoch shows classes in proportion to their size to this power.
    """

    def __init__(
        self,
        seed: int,
        batch: int,
        size: int,
        group: ProcessGroup = SINGLE,
        labels: NDArray[np.int64] | None = None,
        class_sampling_power: float = 1.0,
    ) -> None:
        self._seed = seed
        self._batch = batch
        self._size = size
        self._group = group
        self._labels = labels
        self._class_sampling_power = class_sampling_power
        self._epoch = -1
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)

    def batch_indices(self, images_shown: int) -> NDArray[np.int64]:
        """Return the data of this process's part of the batch: each epoch is a new permutation of the data set."""
        parts = []
        position = images_shown
        end = images_shown + self._batch
        while position < end:
            epoch, offset = divmod(position, self._size)
            if epoch != self._epoch:
                self._order = self._epoch_order(epoch)
                self._epoch = epoch
            parts.append(self._order[offset : offset + end - position])
            position += len(parts[-1])
        return np.concatenate(parts)[self._group.rows(self._batch)]

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        random = stream(self._seed, DATA, epoch)
        if self._labels is None:
            return random.permutation(self._size)
        return random.permutation(_rebalanced(self._labels, self._class_sampling_power, random))

    def mirror_mask(self, images_shown: int) -> NDArray[np.bool_]:
        """Return which images of this process's part are flipped."""
        numbers = stream(self._seed, MIRROR, images_shown).random_sample(self._batch)
        return numbers[self._group.rows(self._batch)] < 0.5

    def latents(self, images_shown: int, part: int, z_dim: int) -> NDArray[np.float32]:
        """Return standard normal latents, float32 (n, z_dim); `part` numbers the batches of one step."""
        numbers = stream(self._seed, NOISE, images_shown, part).standard_normal((self._batch, z_dim))
        return numbers[self._group.rows(self._batch)].astype(np.float32)

    def augment_rng(self, images_shown: int, part: int) -> RandomState:
        """Return the generator for the augmentations of all processes' batch; `part` numbers those of one step."""
        return stream(self._seed, AUGMENT, images_shown, part)


def _rebalanced(labels: NDArray[np.int64], power: float, random: RandomState) -> NDArray[np.int64]:
    """Return an epoch's rows, as many as the data set has; classes have shares by their size to this power."""
    classes, counts = np.unique(labels, return_counts=True)
    targets = counts**power / (counts**power).sum() * len(labels)
    # Rounding the running sum keeps the total.
    ends = np.rint(np.cumsum(targets)).astype(np.int64)
    rows = []
    for class_id, target in zip(classes, np.diff(ends, prepend=0)):
        members = np.flatnonzero(labels == class_id)
        repeats, rest = divmod(int(target), len(members))
        rows += [np.tile(members, repeats), random.permutation(members)[:rest]]
    return np.concatenate(rows)
