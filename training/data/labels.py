"""Labels in words, and the order of their classes.

Knows: the rows of a labels csv, how several columns make one label, and which class comes first.
Does not know: pictures, where the csv lies, what labels are for.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import Field

from models.base import Frozen
from models.errors import DataError

FILE = "file"


class LabelColumn(Frozen):
    """A column of a labels csv whose values are part of the label.

    Attributes:
        column: its heading.
        names: what a value is called in the label, in the order that classes shall have; several
            values may share a name. Empty: values as they are, in the order of `label_order`.
    """

    column: str = Field(min_length=1)
    names: dict[str, str] = Field(default={})


# What a csv is read by when nothing else is said.
DEFAULT_COLUMNS = (LabelColumn(column="label"),)


def label_order(texts: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels in order: by value where every one is an integer, else as text."""
    distinct = sorted(set(texts))
    if all(re.fullmatch(r"-?[0-9]{1,18}", text) for text in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def class_names(columns: Sequence[LabelColumn], rows: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The labels that occur, by the first column's order, then the second's, and so on.

    Args:
        columns: what the rows were read by.
        rows: for each picture, one name per column.
    Returns: distinct texts, each row's names joined by a space.
    """
    ranks = []
    for k, column in enumerate(columns):
        order = tuple(dict.fromkeys(column.names.values())) or label_order(row[k] for row in rows)
        ranks.append({name: rank for rank, name in enumerate(order)})
    distinct = sorted(set(rows), key=lambda row: [rank[name] for rank, name in zip(ranks, row)])
    return tuple(dict.fromkeys(map(" ".join, distinct)))


def csv_rows(path: Path, content: bytes, columns: Sequence[LabelColumn]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Line number, file and names of each row.

    Args:
        path: what errors call the csv.
        content: the csv's bytes: UTF-8, a heading line with at least `file` and the columns.
        columns: which columns make the label.
    Raises: DataError for path, saying which column or line is at fault.
    """
    try:
        # Spreadsheets write a byte order mark, and spaces after commas are common.
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        reader = csv.DictReader(text, skipinitialspace=True, strict=True)
        _check_headings(path, list(reader.fieldnames or ()), columns)
        for row in reader:
            file = _value(path, reader.line_num, row, FILE)
            yield reader.line_num, file, tuple(_name(path, reader.line_num, row, column) for column in columns)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is not a csv in UTF-8: {error}") from None


def _check_headings(path: Path, found: list[str], columns: Sequence[LabelColumn]) -> None:
    wanted = [FILE, *(column.column for column in columns)]
    if set(wanted) <= set(found):
        return
    raise DataError(
        path,
        f"has the columns {', '.join(map(repr, found)) or 'of an empty file'}; it needs "
        f"{' and '.join(map(repr, wanted))}: name the columns to learn from with "
        "--set 'data.labels=[{column: ...}]', or move the csv away to train without labels",
    )


def _name(path: Path, line: int, row: dict[str, str], column: LabelColumn) -> str:
    value = _value(path, line, row, column.column)
    if column.names and value not in column.names:
        known = ", ".join(map(repr, column.names))
        raise DataError(
            path, f"has {column.column} {value!r} on line {line}, which data.labels gives no name (known: {known})"
        )
    return column.names.get(value, value)


def _value(path: Path, line: int, row: dict[str, str], heading: str) -> str:
    value = (row[heading] or "").strip()
    if not value:
        raise DataError(path, f"has no {heading} on line {line}; fill it in")
    return value
