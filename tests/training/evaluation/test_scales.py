"""The evaluation's acceptance table on the repository's small data: bad images break a bound, real ones none."""

from __future__ import annotations

import pytest

from benchmarks import scales
from training.evaluation.data_split import DataSplit
from training.evaluation.protocol import Protocol


@pytest.fixture(scope="module")
def broken(digits: DataSplit) -> dict[str, set[str]]:
    """The bounds that each row of the table breaks, with 87 images a side."""
    rows = scales.measure_rows(digits, 87, {}, Protocol(min_images=70, neighbours=20, bins=8))
    return {name: set(bounds) for name, (_, bounds) in rows.items()}


def test_real_images_break_no_bound(broken: dict[str, set[str]]) -> None:
    assert broken["real"] == set()


@pytest.mark.parametrize("name", scales.corruptions(28))
def test_bad_images_break_recall_or_the_frechet_distance(broken: dict[str, set[str]], name: str) -> None:
    assert broken[name] & {"recall", "fd"}


def test_copies_are_near_copies(broken: dict[str, set[str]]) -> None:
    copied = {name: bounds for name, bounds in broken.items() if "copies" in name}

    assert len(copied) == 4 and all("near_copies" in bounds for bounds in copied.values())
