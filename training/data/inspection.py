"""A look at data before it is trained on.

Knows: how to go through every picture without stopping at the first bad one, and what of it all keeps
a training from starting. Does not know: how the findings are shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import images
from models.errors import DataError
from training.data import image_folder
from training.data.archive import Source, opened
from training.data.dataset import holds_pictures, load_dataset
from training.data.labels import LabelColumn

SHEET_COLUMNS, SHEET_ROWS = 10, 8
Pixels = NDArray[np.uint8]


@dataclass
class DatasetReport:
    """What was found.

    Attributes:
        pictures: how many there are, unreadable ones included.
        sizes: pictures by (width, height, channels).
        classes: pictures by label, in label order; empty where there are no labels.
        unreadable: one error for each picture that cannot be read.
        duplicates: names of pictures with equal pixels, each group in order.
        labels_error: why labels cannot be read.
    """

    pictures: int = 0
    sizes: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    classes: dict[str, int] = field(default_factory=dict)
    unreadable: list[DataError] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    labels_error: DataError | None = None

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width of all of them, as training would see them, if it is one size."""
        sides = {(height, width) for width, height, _ in self.sizes}
        if len(sides) != 1:
            return None
        # One picture in colour makes the set one.
        return (max(channels for _, _, channels in self.sizes), *sides.pop())

    @property
    def obstacles(self) -> list[str]:
        """What keeps a training from starting, in words; empty if nothing does."""
        found = []
        if self.labels_error:
            found.append(str(self.labels_error))
        if self.unreadable:
            found.append(f"{len(self.unreadable)} of {self.pictures} cannot be read; replace or remove them")
        if len({size[:2] for size in self.sizes}) > 1:
            found.append("not all are of one size; make them so")
        return found


def inspect_dataset(path: Path, columns: Sequence[LabelColumn] = ()) -> tuple[DatasetReport, Pixels | None]:
    """Go through a data set.

    Args:
        path: as for training.data.dataset.load.
        columns: which csv columns make the label.
    Returns: the findings, and a sheet of pictures, uint8 (H, W, C): one class a column where there are
    at most ten, else in their order; of the commonest shape; None where nothing can be read.
    Raises: DataError when nothing at all can be read.
    """
    found = DatasetReport()
    try:
        is_pictures = path.exists() and holds_pictures(path)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    if not is_pictures:
        dataset = load_dataset(path, columns)
        arrays = np.asarray(dataset.images, np.uint8)
        labels = None if dataset.labels is None else [dataset.class_names[k] for k in dataset.labels]
        numbered = ((f"image {k}", pixels) for k, pixels in enumerate(arrays))
        return _gone_through(found, len(dataset), numbered, labels, dataset.class_names)
    with opened(path) as source:
        names = image_folder.picture_names(source)
        labelled = None
        try:
            labelled = image_folder.labels_of(source, names, columns)
        except DataError as error:
            found.labels_error = error
        return _gone_through(found, len(names), _decoded(source, names, found), *(labelled or (None, ())))


def _decoded(source: Source, names: list[str], found: DatasetReport) -> Iterator[tuple[str, Pixels | None]]:
    for name in names:
        try:
            mode = "L" if image_folder.channels(source, name) == 1 else "RGB"
            yield name, image_folder.decode(source, name, mode)
        except DataError as error:
            found.unreadable.append(error)
            yield name, None


def _gone_through(
    found: DatasetReport,
    count: int,
    pictures: Iterator[tuple[str, Pixels | None]],
    labels: list[str] | None,
    class_names: tuple[str, ...],
) -> tuple[DatasetReport, Pixels | None]:
    found.pictures = count
    if labels is not None:
        counts = Counter(labels)
        found.classes = {name: counts[name] for name in class_names}
    names_of: dict[bytes, list[str]] = {}
    sheet = _Sheet(class_names)
    for k, (name, pixels) in enumerate(pictures):
        if pixels is None:
            continue
        height, width, channels = pixels.shape
        found.sizes[width, height, channels] += 1
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        names_of.setdefault(digest, []).append(name)
        sheet.add(pixels, None if labels is None else labels[k])
    found.duplicates = [names for names in names_of.values() if len(names) > 1]
    return found, sheet.picture()


class _Sheet:
    """The first pictures, one class a column where classes are few."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self._by_class = 2 <= len(class_names) <= SHEET_COLUMNS
        self._columns: dict[str | None, list[Pixels]] = {name: [] for name in class_names} if self._by_class else {}

    def add(self, pixels: Pixels, label: str | None) -> None:
        column = self._columns.setdefault(label if self._by_class else None, [])
        if len(column) < (SHEET_ROWS if self._by_class else SHEET_ROWS * SHEET_COLUMNS):
            column.append(pixels)

    def picture(self) -> Pixels | None:
        shown = [pixels for column in self._columns.values() for pixels in column]
        if not shown:
            return None
        shape = Counter(pixels.shape for pixels in shown).most_common(1)[0][0]
        columns = [[p for p in column if p.shape == shape] for column in self._columns.values()]
        if not self._by_class:
            return images.grid(np.stack(columns[0]), SHEET_COLUMNS)
        blank = np.zeros(shape, np.uint8)
        rows = max(map(len, columns))
        return images.grid(
            np.stack([column[row] if row < len(column) else blank for row in range(rows) for column in columns]),
            len(columns),
        )
