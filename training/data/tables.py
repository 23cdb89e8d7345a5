"""Read tables of text: csv in its dialects, and JSON Lines.

A csv may be separated by commas, semicolons, tabs or bars, and encoded in UTF-8, UTF-16 or Windows-1252.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import NamedTuple

from models.errors import DataError

SEPARATORS = ",;\t|"


class TableRow(NamedTuple):
    """A row: the number of its line, and its values without spaces around them, as many as there are headings."""

    line: int
    values: list[str]


class Table(NamedTuple):
    """A table: its path for errors, its headings, and its rows; empty rows are left out."""

    path: Path
    headings: list[str]
    rows: list[TableRow]

    def find_column(self, *headings: str) -> int | None:
        """Return the position of the first of these headings that the table has, in upper or lower case.

        Raises: DataError if the table has that heading twice.
        """
        for heading in headings:
            exact = [k for k, actual in enumerate(self.headings) if actual == heading]
            found = exact or [k for k, actual in enumerate(self.headings) if actual.lower() == heading.lower()]
            if len(found) > 1:
                raise DataError(self.path, f"has the column {heading!r} {len(found)} times; keep or rename one of them")
            if found:
                return found[0]
        return None


def read_table(path: Path, content: bytes) -> Table:
    """Read a table with a heading line, or JSON Lines if the path ends so.

    Args:
        path: the file's path, for its suffix and for errors.
        content: the file's bytes.
    Raises: DataError for path, naming the line at fault.
    """
    text = _decode(path, content)
    return _read_json_lines(path, text) if path.suffix.lower() == ".jsonl" else _read_csv(path, text)


def _decode(path: Path, content: bytes) -> str:
    encodings = ["utf-8-sig", "cp1252"]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif 0 in content[:2]:
        encodings = ["utf-16-be" if content[0] == 0 else "utf-16-le"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(path, "is not a text in UTF-8, UTF-16 or Windows-1252; save it in UTF-8")


def _read_csv(path: Path, text: str) -> Table:
    first_line, _, rest = text.lstrip("\r\n").partition("\n")
    # Excel may begin with a line that names the separator.
    stated = re.fullmatch(r"sep=(.)\r?", first_line)
    skipped = 1 if stated else 0
    separator = stated[1] if stated else max(SEPARATORS, key=lambda one: len(_split_line(first_line, one)))
    lines = io.StringIO(rest if stated else text, newline="")
    # Spaces after commas are common.
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        cells = [(reader.line_num + skipped, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise DataError(path, f"is not a csv: {error} (line {reader.line_num + skipped})") from None
    filled = [(line, row) for line, row in cells if any(row)]
    headings = filled[0][1] if filled else []
    return Table(path, headings, [TableRow(line, _fit(path, line, row, len(headings))) for line, row in filled[1:]])


def _split_line(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []


def _fit(path: Path, line: int, row: list[str], width: int) -> list[str]:
    if any(row[width:]):
        raise DataError(
            path,
            f"has {len(row)} values on line {line} for {width} columns; put quotes around a value with a separator",
        )
    return row[:width] + [""] * (width - len(row))


def _read_json_lines(path: Path, text: str) -> Table:
    rows: list[tuple[int, dict[str, object]]] = []
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                row = json.loads(content)
            except ValueError as error:
                raise DataError(path, f"is not JSON on line {line}: {error}") from None
            if not isinstance(row, dict):
                raise DataError(path, f"is not an object {{name: value}} on line {line}")
            rows.append((line, row))
    return rows_of_objects(path, rows)


def rows_of_objects(path: Path, rows: list[tuple[int, dict[str, object]]]) -> Table:
    """Return a table of objects, each with the number of its line; its headings are all their keys."""
    headings = list(dict.fromkeys(key for _, row in rows for key in row))
    return Table(path, headings, [TableRow(line, [_text(row.get(key)) for key in headings]) for line, row in rows])


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
