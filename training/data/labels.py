"""Read labels from a csv and order their classes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from models.base import Frozen
from models.errors import DataError

FILE_HEADING = "file"


class LabelColumn(Frozen):
    """A column of a labels csv whose values are part of the label.

    Attributes:
        column: its heading.
        names: the name of each value in the label, in the order of the classes; several values may
            share a name. If empty, values are their own names, ordered by `sort_labels`.
    """

    column: str = Field(min_length=1)
    names: dict[str, str] = Field(default={})


# Used when no columns are configured.
DEFAULT_COLUMNS = (LabelColumn(column="label"),)


class LabelRow(NamedTuple):
    """A row of a labels csv: its line number, its file, and one name per column."""

    line: int
    file: str
    names: tuple[str, ...]


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels in order: by value if every one is an integer, else as text."""
    distinct = sorted(set(labels))
    if all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def derive_class_names(columns: Sequence[LabelColumn], rows: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the classes that occur, ordered by the first column, then the second, and so on.

    Args:
        columns: the columns that the rows were read by.
        rows: for each image, one name per column.
    Returns: distinct texts, each row's names joined by a space.
    """
    ranks = []
    for k, column in enumerate(columns):
        order = tuple(dict.fromkeys(column.names.values())) or sort_labels(row[k] for row in rows)
        ranks.append({name: rank for rank, name in enumerate(order)})
    distinct = sorted(set(rows), key=lambda row: [rank[name] for rank, name in zip(ranks, row)])
    return tuple(dict.fromkeys(map(" ".join, distinct)))


def read_label_rows(path: Path, content: bytes, columns: Sequence[LabelColumn]) -> Iterator[LabelRow]:
    """Read the rows of a labels csv.

    Args:
        path: the csv's path, for errors.
        content: the csv's bytes: UTF-8, a heading line with at least `file` and the columns.
        columns: the columns that make the label.
    Raises: DataError for path, naming the column or line at fault.
    """
    try:
        # Spreadsheets write a byte order mark, and spaces after commas are common.
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        reader = csv.DictReader(text, skipinitialspace=True, strict=True)
        _check_headings(path, list(reader.fieldnames or ()), columns)
        for row in reader:
            file = _value(path, reader.line_num, row, FILE_HEADING)
            names = tuple(_name(path, reader.line_num, row, column) for column in columns)
            yield LabelRow(reader.line_num, file, names)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is not a csv in UTF-8: {error}") from None


def _check_headings(path: Path, headings: list[str], columns: Sequence[LabelColumn]) -> None:
    required = [FILE_HEADING, *(column.column for column in columns)]
    if set(required) <= set(headings):
        return
    actual = f"has the columns {', '.join(map(repr, headings))}" if headings else "is empty"
    raise DataError(
        path,
        f"{actual}; it needs {' and '.join(map(repr, required))}: name the columns to learn from with "
        "--set 'data.label_columns=[{column: ...}]', or move the csv elsewhere to train without labels",
    )


def _name(path: Path, line: int, row: dict[str, str], column: LabelColumn) -> str:
    value = _value(path, line, row, column.column)
    if column.names and value not in column.names:
        known = ", ".join(map(repr, column.names))
        raise DataError(
            path,
            f"has {column.column} {value!r} on line {line}, which data.label_columns does not name (known: {known})",
        )
    return column.names.get(value, value)


def _value(path: Path, line: int, row: dict[str, str], heading: str) -> str:
    value = (row[heading] or "").strip()
    if not value:
        raise DataError(path, f"has no {heading} on line {line}; fill it in")
    return value
