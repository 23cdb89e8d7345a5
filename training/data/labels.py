"""Read labels from a table and order their classes."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from models.base import Frozen
from models.errors import DataError
from training.data.tables import Table

# The first that a table has; Hugging Face's is file_name.
FILE_HEADINGS = ("file", "file_name", "filename", "image", "path")

# A generator has weights for each combination of independent labels.
MAX_COMBINATIONS = 4096

# What pandas writes for a missing value that became a text.
NO_VALUES = frozenset({"nan", "<na>", "nat"})


class LabelColumn(Frozen):
    """A column of a labels table whose values are part of the label.

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
    """A row of a labels table: its line number, its file, and one name per column."""

    line: int
    file: str
    names: tuple[str, ...]


class LabelFactor(NamedTuple):
    """One of several labels that an image has: the heading of its column, and the values that occur, in order."""

    column: str
    values: tuple[str, ...]


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels in order: by value if every one is an integer, else as text."""
    distinct = sorted(set(labels))
    if all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def find_factors(columns: Sequence[LabelColumn], rows: Collection[tuple[str, ...]]) -> tuple[LabelFactor, ...]:
    """Return the values of each column that occur, in the order that the column states, else by `sort_labels`.

    Args:
        columns: the columns that the rows were read by.
        rows: for each image, one name per column.
    """
    factors = []
    for k, column in enumerate(columns):
        occurring = sort_labels(row[k] for row in rows)
        stated = tuple(name for name in dict.fromkeys(column.names.values()) if name in occurring)
        factors.append(LabelFactor(column.column, stated or occurring))
    return tuple(factors)


def find_values(factors: Sequence[LabelFactor], class_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the value of each factor in every class, in label order; empty where classes have one label only.

    Also empty where the names do not tell: two combinations have one, or a class is none of the combinations.
    """
    count = math.prod(len(factor.values) for factor in factors)
    if len(factors) < 2 or count > MAX_COMBINATIONS:
        return {}
    by_name = {" ".join(values): values for values in itertools.product(*(factor.values for factor in factors))}
    if len(by_name) < count or not by_name.keys() >= set(class_names):
        return {}
    return {factor.column: tuple(by_name[name][k] for name in class_names) for k, factor in enumerate(factors)}


def split_class_names(class_names: Sequence[str], columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return each label's value in every class of older models and runs, by class names that are values with spaces.

    Args: class_names, of the model; columns, the labels. Returns: nothing where the names have other parts.
    """
    words = [name.split(" ") for name in class_names]
    if len(columns) < 2 or any(len(parts) != len(columns) for parts in words):
        return {}
    return {column: tuple(parts[k] for parts in words) for k, column in enumerate(columns)}


def derive_class_names(factors: Sequence[LabelFactor], rows: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the classes that occur, ordered by the first column, then the second, and so on.

    Args:
        factors: the values of each column, in order.
        rows: for each image, one name per column.
    Returns: distinct texts, each row's names joined by a space.
    """
    ranks = [{name: rank for rank, name in enumerate(factor.values)} for factor in factors]
    distinct = sorted(set(rows), key=lambda row: [rank[name] for rank, name in zip(ranks, row)])
    return tuple(dict.fromkeys(map(" ".join, distinct)))


def read_label_rows(table: Table, columns: Sequence[LabelColumn]) -> Iterator[LabelRow]:
    """Read the rows of a labels table, which has a column of file names and the columns that make the label.

    Raises: DataError for the table, naming the column or line at fault.
    """
    file = table.find_column(*FILE_HEADINGS)
    places = [table.find_column(column.column) for column in columns]
    if file is None or None in places:
        raise _columns_error(table, columns)
    for line, values in table.rows:
        names = tuple(_name(table.path, line, values[k or 0], column) for k, column in zip(places, columns))
        yield LabelRow(line, _require(table.path, line, values[file], table.headings[file]), names)


def has_columns(table: Table, columns: Sequence[LabelColumn]) -> bool:
    """Tell whether `read_label_rows` finds its columns.

    Raises: DataError for a column that the table has twice.
    """
    alternatives = [FILE_HEADINGS, *((column.column,) for column in columns)]
    return all(table.find_column(*headings) is not None for headings in alternatives)


def _columns_error(table: Table, columns: Sequence[LabelColumn]) -> DataError:
    required = [FILE_HEADINGS[0], *(column.column for column in columns)]
    actual = f"has the columns {', '.join(map(repr, table.headings))}" if table.headings else "is empty"
    remedy = "name the columns to learn from with --set 'data.label_columns=[{column: ...}]'"
    if table.find_column(*FILE_HEADINGS) is None:
        remedy = f"call the column of the images' names {FILE_HEADINGS[0]!r} (or {', '.join(FILE_HEADINGS[1:])})"
    needs = f"it needs {' and '.join(map(repr, required))}"
    without = "or train without labels: --set data.unlabelled=true"
    return DataError(table.path, f"{actual}; {needs}: {remedy}, {without}")


def _name(path: Path, line: int, value: str, column: LabelColumn) -> str:
    _require(path, line, value, column.column)
    if value.lower() in NO_VALUES:
        raise DataError(
            path, f"has the {column.column} {value!r} on line {line}, which stands for none; fill it in or drop the row"
        )
    if _is_list(value):
        raise DataError(
            path,
            f"has a list as {column.column} on line {line}: {value}; an image has one label, so choose another column",
        )
    if column.names and value not in column.names:
        known = ", ".join(map(repr, column.names))
        raise DataError(
            path,
            f"has {column.column} {value!r} on line {line}, which data.label_columns does not name (known: {known})",
        )
    return column.names.get(value, value)


def _is_list(value: str) -> bool:
    if value[0] not in "[{":
        return False
    try:
        return isinstance(json.loads(value), (list, dict))
    except ValueError:
        return False


def _require(path: Path, line: int, value: str, heading: str) -> str:
    if not value:
        raise DataError(path, f"has no {heading} on line {line}; fill it in")
    return value
