"""Every random number of a run, as a pure function of its seed and the images shown so far.

Knows: the streams, and which rows of a batch's numbers are this process's. Does not know: what the
numbers are for.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Philox, RandomState
from numpy.typing import NDArray

from training.distributed import SINGLE, ProcessGroup

# Second words of the Philox key; 1 is the latents' own (models.latents).
DATA, NOISE, MIRROR, HOLDOUT, AUGMENT, DIRECTION, CANDIDATE, REFERENCE = range(2, 10)


def stream(seed: int, purpose: int, counter: int, part: int = 0) -> RandomState:
    """The numbers for one purpose at one place, independent of all others."""
    return RandomState(Philox(key=[seed, purpose], counter=[0, part, counter, 0]))


class RngStreams:
    """The numbers of one step after another.

    Args:
        seed: the run's.
        batch: images a step, in all processes.
        size: of the data set.
        team: which rows are this process's.
    """

    def __init__(self, seed: int, batch: int, size: int, team: ProcessGroup = SINGLE) -> None:
        self._seed, self._batch, self._size, self._team = seed, batch, size, team
        self._epoch = -1
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)

    def indices(self, images_shown: int) -> NDArray[np.int64]:
        """The batch's data: each epoch is a fresh permutation, cut without regard to its end."""
        return self.coming(images_shown, self._batch)[self._team.rows(self._batch)]

    def coming(self, images_shown: int, count: int) -> NDArray[np.int64]:
        """The data that all processes will be shown next."""
        parts, position, end = [], images_shown, images_shown + count
        while position < end:
            epoch, offset = divmod(position, self._size)
            if epoch != self._epoch:
                self._order = stream(self._seed, DATA, epoch).permutation(self._size)
                self._epoch = epoch
            parts.append(self._order[offset : offset + end - position])
            position += len(parts[-1])
        return np.concatenate(parts)

    def candidates(self, images_shown: int, label: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Standard normal latents of one class, the same in all processes."""
        numbers = stream(self._seed, CANDIDATE, images_shown, label).standard_normal(shape)
        return numbers.astype(np.float32)

    def picked(self, images_shown: int, label: int, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """At most `count` of these rows, the same in all processes."""
        if len(rows) <= count:
            return rows
        return stream(self._seed, REFERENCE, images_shown, label).permutation(rows)[:count]

    def mirrored(self, images_shown: int) -> NDArray[np.bool_]:
        """Which of the batch's images are flipped."""
        draws = stream(self._seed, MIRROR, images_shown).random_sample(self._batch)
        return draws[self._team.rows(self._batch)] < 0.5

    def noise(self, images_shown: int, part: int, z_dim: int) -> NDArray[np.float32]:
        """Standard normal, float32 (n, z_dim); `part` tells a step's batches apart."""
        return self._normal(NOISE, images_shown, part, (z_dim,))

    def directions(self, images_shown: int, part: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Standard normal, float32 (n, *shape)."""
        return self._normal(DIRECTION, images_shown, part, shape)

    def augmentation(self, images_shown: int, part: int) -> RandomState:
        """What the whole batch's transformations are drawn from."""
        return stream(self._seed, AUGMENT, images_shown, part)

    def _normal(self, purpose: int, images_shown: int, part: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        numbers = stream(self._seed, purpose, images_shown, part).standard_normal((self._batch, *shape))
        return numbers[self._team.rows(self._batch)].astype(np.float32)
