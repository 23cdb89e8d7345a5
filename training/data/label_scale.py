"""A continuous label: its values on an even scale, each of which is a class.

So a value is asked for, stored and exported as a class is. What the networks know of one is near what they know of
the next (training.gan.value_embedding).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.dataset import Dataset
from training.data.labels import LabelFactor


class LabelScale(NamedTuple):
    """An even scale of numbers.

    Attributes:
        smallest, largest: its ends, in the label's own unit; smallest < largest.
        steps: how many equal steps lead from one to the other, at least 1; there is one value more.
    """

    smallest: float
    largest: float
    steps: int

    @classmethod
    def of(cls, class_names: Sequence[str]) -> LabelScale:
        """Return the scale whose names these are."""
        return cls(float(class_names[0]), float(class_names[-1]), len(class_names) - 1)

    @property
    def names(self) -> tuple[str, ...]:
        """The values as text, ascending, all different: the ends as they are, the others to a hundredth of a step."""
        step = (self.largest - self.smallest) / self.steps
        decimals = 2 - math.floor(math.log10(step))
        # Adding 0.0 turns -0.0 into 0.0.
        inner = (round(self.smallest + k * step, decimals) + 0.0 for k in range(1, self.steps))
        return tuple(f"{value!r}".removesuffix(".0") for value in (self.smallest, *inner, self.largest))

    def place(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of the nearest value, int64 (n,) in 0 .. steps; beyond an end, that of the end."""
        shares = (values - self.smallest) / (self.largest - self.smallest)
        return np.rint(np.clip(shares, 0, 1) * self.steps).astype(np.int64)


def measure_scale(dataset: Dataset, steps: int) -> LabelScale:
    """Return the scale from the smallest to the largest label of a data set.

    Args: dataset, with one label, whose values are its class names.
    Raises: DataError: a value is no finite number, or all are the same.
    """
    values = _read_values(dataset)
    smallest, largest = float(values.min()), float(values.max())
    if smallest == largest:
        raise DataError(
            Path(dataset.name), f"has one {_column(dataset)} only, {dataset.class_names[0]}; a scale needs two"
        )
    return LabelScale(smallest, largest, steps)


def put_on_scale(dataset: Dataset, scale: LabelScale) -> Dataset:
    """Return a data set with the values of a scale as classes, whether they occur or not.

    Args: dataset, with one label, whose values are its class names.
    Raises: DataError: a value is no finite number.
    """
    assert dataset.labels is not None
    labels = scale.place(_read_values(dataset))[dataset.labels]
    factors = (LabelFactor(_column(dataset), scale.names),)
    return dataclasses.replace(
        dataset, labels=labels, class_names=scale.names, factors=factors, has_continuous_label=True
    )


def describe_values(column: str, class_names: Sequence[str]) -> str:
    """Return a continuous label as words: its name and the ends of its scale."""
    return f"{column} from {class_names[0]} to {class_names[-1]}"


def _read_values(dataset: Dataset) -> NDArray[np.float64]:
    """Return the value of each class."""
    return np.array([_read_value(name, dataset) for name in dataset.class_names], np.float64)


def _read_value(text: str, dataset: Dataset) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(
            Path(dataset.name),
            f"has the {_column(dataset)} {text!r}, which is no number, so it cannot be data.continuous_label; mend it, "
            "or learn it as classes: --set 'data.label_columns=[{column: "
            f"{_column(dataset)}}}]'",
        )
    return value


def _column(dataset: Dataset) -> str:
    return dataset.factors[0].column
