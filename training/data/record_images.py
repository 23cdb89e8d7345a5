"""Images that are stored as records of planes (all of red, then all of green, then all of blue), with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.allocation import allocate, fill
from training.data.archive import FileSource
from training.data.dataset import Dataset
from training.data.folder_labels import LABEL_NAME
from training.data.image_files import DAMAGE_ERRORS, damage_error
from training.data.labels import FILE_HEADINGS, LabelColumn
from training.data.layout import COLUMN
from training.data.row_labels import name_values, read_row_labels
from training.data.tables import Table, rows_of_objects

# Records whose planes are put side by side at a time.
CHUNK = 1024


class Records(NamedTuple):
    """Images, and each label that they have.

    Attributes:
        images: uint8 (N, H, W, 3).
        labels: int64 (N,) by heading; `label` is the one that is read if none is chosen.
        class_names: the names of a label's values 0, 1, ... by heading; [] if they have none.
        unused: names of the files that were not read.
    """

    images: NDArray[np.uint8]
    labels: dict[str, NDArray[np.int64]]
    class_names: dict[str, list[str]]
    unused: tuple[str, ...]


def read_records(source: FileSource, name: str, size: int) -> NDArray[np.uint8]:
    """Read a file of records, each of `size` bytes.

    Returns: uint8 (N, size), N at least 1; memory-mapped if the file lies in a folder.
    Raises: DataError for the file.
    """
    path = source.path / name
    try:
        with source.open(name) as file:
            length = file.seek(0, 2)
            if not length or length % size:
                raise DataError(path, f"is not a whole number of records of {size} bytes; fetch it again")
            shape = (length // size, size)
            if path.is_file():
                return np.memmap(path, np.uint8, "r", shape=shape)
            file.seek(0)
            records = allocate(shape, path)
            fill(records, file)
            return records
    except DAMAGE_ERRORS as error:
        raise damage_error(path, error) from None


def planes_to_images(
    path: Path, batches: Sequence[NDArray[np.uint8]], sides: tuple[int, int], columns_first: bool = False
) -> NDArray[np.uint8]:
    """Copy records of planes into one array of images.

    Args:
        path: what the records belong to, for errors.
        batches: uint8 (n, 3 * H * W) each, memory-mapped or not.
        sides: height and width.
        columns_first: whether a plane is stored column by column.
    Returns: uint8 (N, H, W, 3).
    Raises: DataError when there is no room.
    """
    height, width = sides
    images = allocate((sum(map(len, batches)), height, width, 3), path)
    row = 0
    for batch in batches:
        for start in range(0, len(batch), CHUNK):
            planes = batch[start : start + CHUNK]
            if columns_first:
                pixels = planes.reshape(-1, 3, width, height).transpose(0, 3, 2, 1)
            else:
                pixels = planes.reshape(-1, 3, height, width).transpose(0, 2, 3, 1)
            images[row : row + len(planes)] = pixels
            row += len(planes)
    return images


def records_to_dataset(path: Path, records: Records, columns: Sequence[LabelColumn], unlabelled: bool) -> Dataset:
    """Return records as a data set, with the label of the chosen columns, or of `label`.

    Raises: DataError for path, if it has no such columns.
    """
    if unlabelled or not (records.labels or columns):
        return Dataset(path.name, records.images, unused=records.unused)
    chosen = {column.column.lower() for column in columns} or {"label"}
    unused = records.unused + tuple(COLUMN + heading for heading in records.labels if heading not in chosen)
    labels = read_row_labels(_label_table(path, records), name_values(columns, records.class_names))
    return Dataset(path.name, records.images, *labels.number(), unused, factors=labels.factors)


def _label_table(path: Path, records: Records) -> Table:
    names = dict(enumerate(records.class_names.get("label", [])))
    rows: list[tuple[int, dict[str, object]]] = []
    for k in range(len(records.images)):
        row = {heading: int(numbers[k]) for heading, numbers in records.labels.items()}
        name = {LABEL_NAME: names.get(row["label"])} if names else {}
        rows.append((k + 1, {FILE_HEADINGS[0]: f"image {k}", **row, **name}))
    return rows_of_objects(path, rows)
