"""A picture of some of a data set's images."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from models import images

Pixels = NDArray[np.uint8]


class ContactSheet:
    """The first images, one class per column if there are few classes.

    Args: class_names, in order; empty where images have no labels.
    """

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self._num_columns = images.class_grid_columns(len(class_names))
        self._by_class = images.has_class_columns(len(class_names))
        self._columns: dict[str | None, list[Pixels]] = {name: [] for name in class_names} if self._by_class else {}

    def add(self, pixels: Pixels, label: str | None) -> None:
        """Add an image, uint8 (H, W, C), of a class, if there is room."""
        column = self._columns.setdefault(label if self._by_class else None, [])
        if len(column) < images.GRID_ROWS * (1 if self._by_class else self._num_columns):
            column.append(pixels)

    def render(self) -> Pixels | None:
        """Return the sheet, uint8 (H, W, C), of the images with the most common shape; None if there are none."""
        shapes = Counter(pixels.shape for column in self._columns.values() for pixels in column)
        if not shapes:
            return None
        shape = shapes.most_common(1)[0][0]
        columns = [[p for p in column if p.shape == shape] for column in self._columns.values()]
        if not self._by_class:
            return images.grid(np.stack(columns[0]), self._num_columns)
        blank = np.zeros(shape, np.uint8)
        num_rows = max(map(len, columns))
        cells = [column[row] if row < len(column) else blank for row in range(num_rows) for column in columns]
        return images.grid(np.stack(cells), len(columns))
