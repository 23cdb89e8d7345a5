"""A continuous label: its values on an even scale, each of which is a class.

So a value is asked for, stored and exported as a class is. What the networks know of one is near what they know of
the next (training.gan.value_embedding).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.labels import read_number
from training.data.dataset import Dataset
from training.data.labels import LabelFactor

# As many classes can be numbers that have no order, such as digits.
MANY_VALUES = 10


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
    return LabelScale(*find_ends(dataset.class_names, dataset.factors[0].column, Path(dataset.name)), steps)


def put_on_scale(dataset: Dataset, scale: LabelScale) -> Dataset:
    """Return a data set with the values of a scale as classes, whether they occur or not.

    Args: dataset, with one label, whose values are its class names.
    Raises: DataError: a value is no finite number.
    """
    assert dataset.labels is not None
    column = dataset.factors[0].column
    labels = scale.place(read_values(dataset.class_names, column, Path(dataset.name)))[dataset.labels]
    factors = (LabelFactor(column, scale.names),)
    return dataclasses.replace(
        dataset, labels=labels, class_names=scale.names, factors=factors, has_continuous_label=True
    )


def find_ends(texts: Collection[str], column: str, path: Path) -> tuple[float, float]:
    """Return the smallest and the largest of the numbers in a column.

    Args: texts, its different values; path, of the data, for errors.
    Raises: DataError: a value is no finite number, or all are the same.
    """
    values = read_values(texts, column, path)
    if values.min() == values.max():
        raise DataError(path, f"has one {column} only, {next(iter(texts))}; a continuous label needs two")
    return float(values.min()), float(values.max())


def is_scale(texts: Collection[str]) -> bool:
    """Tell whether values are numbers, so many different ones that they are more likely a scale than classes."""
    numbers = {read_number(text) for text in texts}
    return len(numbers) > MANY_VALUES and all(map(math.isfinite, numbers))


def read_values(texts: Collection[str], column: str, path: Path) -> NDArray[np.float64]:
    """Return the numbers that texts in a column say.

    Raises: DataError: one is no finite number.
    """
    values = np.array([read_number(text) for text in texts], np.float64)
    wrong = [text for text, is_number in zip(texts, np.isfinite(values)) if not is_number]
    if wrong:
        raise DataError(
            path,
            f"has the {column} {wrong[0]!r}, which is no number, so it cannot be data.continuous_label; mend it, or "
            f"learn classes: --set 'data.label_columns=[{{column: {column}}}]'",
        )
    return values
