"""Random streams: which images a step shows, against golden values."""

from __future__ import annotations

import numpy as np
import pytest

from training.distributed import SINGLE, ProcessGroup
from training.rng import RngStreams

LABELS = np.repeat([0, 1, 2], [20, 7, 3])
# Drawn once and kept: a saved run must go on with the same images.
REBALANCED = [
    [17, 3, 28, 28, 14, 19, 7, 22],
    [12, 29, 18, 25, 20, 15, 23, 29],
    [24, 27, 5, 21, 26, 2, 24, 9],
    [27, 13, 4, 22, 0, 6, 19, 27],
    [23, 29, 20, 9, 14, 8, 13, 0],
    [1, 24, 22, 18, 24, 28, 2, 15],
    [28, 7, 26, 3, 21, 29, 25, 27],
    [11, 10, 16, 20, 21, 27, 29, 7],
]


def rebalanced(power: float, group: ProcessGroup = SINGLE) -> RngStreams:
    return RngStreams(3, 8, 30, group, LABELS, power)


def test_a_rebalanced_epoch_shows_the_rows_that_it_always_showed() -> None:
    rng = rebalanced(0.5)

    assert [rng.batch_indices(8 * step).tolist() for step in range(8)] == REBALANCED
    # In any order of steps, as a resumed run needs.
    assert rng.batch_indices(8).tolist() == REBALANCED[1]


@pytest.mark.parametrize(("power", "counts"), [(1.0, [20, 7, 3]), (0.5, [15, 9, 6]), (0.0, [10, 10, 10])])
def test_an_epoch_shows_classes_by_their_size_to_the_power(power: float, counts: list[int]) -> None:
    rng = RngStreams(3, 30, 30, labels=LABELS, class_sampling_power=power)

    for epoch in range(3):
        rows = rng.batch_indices(30 * epoch)
        assert np.bincount(LABELS[rows]).tolist() == counts
        # No image of a class is shown once more often than another.
        shown = np.bincount(rows, minlength=30)
        assert all(np.ptp(shown[class_id == LABELS]) <= 1 for class_id in range(3))


def test_processes_share_a_rebalanced_batch() -> None:
    parts = [rebalanced(0.5, ProcessGroup(rank, 2)).batch_indices(8).tolist() for rank in (0, 1)]

    assert parts[0] + parts[1] == REBALANCED[1]
