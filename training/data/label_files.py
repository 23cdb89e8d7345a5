"""Find the tables of labels in a folder or zip, and the images that their rows mean."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from models.errors import DataError
from training.data.archive import FileSource
from training.data.image_files import read_bytes
from training.data.label_scale import is_scale
from training.data.labels import FILE_HEADINGS, LabelColumn, has_columns
from training.data.layout import Layout, Part, is_hidden
from training.data.tables import Table, read_table

LABELS_CSV = "labels.csv"
# Hugging Face's imagefolder: a file beside images, in as many folders as there are.
METADATA = ("metadata.csv", "metadata.jsonl")
STYLEGAN_JSON = "dataset.json"
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")


class LabelFile(NamedTuple):
    """A table, its name in the source (None if it lies beside), and the folder that its rows are relative to."""

    name: str | None
    folder: str
    table: Table


class LabelFiles:
    """The tables of a folder or zip, as far as they concern a part of its images."""

    def __init__(self, source: FileSource, layout: Layout, part: Part) -> None:
        self.source = source
        self.part = part
        self.has_splits = layout.test is not None
        self._visible = [name for name in layout.names if not is_hidden(name)]
        self._names = _Names(self._visible)
        parents = [str(folder) + "/" for folder in PurePosixPath(part.folder).parents if str(folder) != "."]
        # From the outside inwards.
        self._folders = list(dict.fromkeys(["", *reversed(parents), part.folder]))

    def labels_csv(self) -> LabelFile | None:
        """Return the outermost labels.csv."""
        name = self._outermost(LABELS_CSV)
        return None if name is None else self._read(name)

    def beside(self) -> LabelFile | None:
        """Return the csv beside the folder or zip."""
        path = self.source.csv_beside
        if not path.is_file():
            return None
        try:
            return LabelFile(None, self.part.folder, read_table(path, path.read_bytes()))
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror}") from None

    def metadata(self) -> list[LabelFile]:
        """Return Hugging Face's metadata files."""
        return [self._read(name) for name in self._concerned() if name.split("/")[-1] in METADATA]

    def stylegan_json(self) -> str | None:
        """Return the name of the outermost dataset.json."""
        return self._outermost(STYLEGAN_JSON)

    def with_columns(self, columns: Sequence[LabelColumn]) -> list[LabelFile]:
        """Return the table that has the columns; several only if they are metadata files.

        Raises: DataError if there is none, or more than one.
        """
        standard = [file for file in (self.labels_csv(), self.beside()) if file]
        for group in (*([file] for file in standard), self.metadata()):
            if group and all(has_columns(file.table, columns) for file in group):
                return group
        others = [file for file in self._other_tables() if has_columns(file.table, columns)]
        headings = ", ".join(repr(column.column) for column in columns)
        if len(others) > 1:
            listed = " and ".join(str(file.name) for file in others)
            raise DataError(self.source.path, f"has the columns {headings} in {listed}; keep one of these files")
        if not others and not standard:
            raise DataError(
                self.source.path,
                f"has no csv with the columns {headings}{self._suggest_columns(columns)}, "
                f"neither {LABELS_CSV} inside nor {self.source.csv_beside.name} beside; add it, or "
                "use the folders as labels with --set data.label_columns=[]",
            )
        return others or standard[:1]

    def find_scales(self) -> list[str]:
        """Return the headings of the columns that can be a continuous label: their values are many numbers."""
        values: dict[str, list[str]] = {}
        for file in self._all_tables():
            if has_columns(file.table, ()):
                for heading, *column in zip(file.table.headings, *(row.values for row in file.table.rows)):
                    values.setdefault(heading, []).extend(column)
        return [heading for heading, texts in values.items() if heading not in FILE_HEADINGS and is_scale(texts)]

    def _suggest_columns(self, columns: Sequence[LabelColumn]) -> str:
        """Say which columns there are, and which may be meant; "" if there are none."""
        known = {file.name: file.table.headings for file in self._all_tables()}
        if not known:
            return ""
        headings = [heading for one in known.values() for heading in one]
        similar = [one for column in columns for one in difflib.get_close_matches(column.column, headings, n=1)]
        meant = f"did you mean {', '.join(map(repr, similar))}? " if similar else ""
        listed = "; ".join(f"{name} has {', '.join(map(repr, one))}" for name, one in known.items())
        return f" ({meant}{listed})"

    def _all_tables(self) -> list[LabelFile]:
        standard = [file for file in (self.labels_csv(), self.beside()) if file]
        return [*standard, *self.metadata(), *self._other_tables()]

    def find_file(self, name: str, folder: str) -> str | None:
        """Return the file that a table means by a name relative to its folder, to the images' or to the source's."""
        bases = dict.fromkeys([folder, self.part.folder, *self._folders])
        found = (self._names.find(base + name) for base in bases)
        return next((name for name in found if name), None)

    def _outermost(self, base: str) -> str | None:
        visible = set(self._visible)
        return next((folder + base for folder in self._folders if folder + base in visible), None)

    def _concerned(self) -> Iterable[str]:
        """List the files inside the images' folder, and those directly in the folders around it; sorted."""
        for name in sorted(self._visible):
            if name.startswith(self.part.folder) or _folder(name) in self._folders:
                yield name

    def _other_tables(self) -> Iterable[LabelFile]:
        for name in self._concerned():
            base = name.split("/")[-1].lower()
            if base.endswith(TABLE_SUFFIXES) and base not in (LABELS_CSV, *METADATA):
                try:
                    yield self._read(name)
                except DataError:
                    # It is no table, and will be listed as not used.
                    continue

    def _read(self, name: str) -> LabelFile:
        return LabelFile(name, _folder(name), read_table(self.source.path / name, read_bytes(self.source, name)))


class _Names:
    """Finds names as tables write them: with `./`, with backslashes, with accents as one or two characters."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._by_form = {_normalise(name): name for name in self._exact}

    def find(self, name: str) -> str | None:
        return name if name in self._exact else self._by_form.get(_normalise(name))


def _normalise(name: str) -> str:
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _folder(name: str) -> str:
    return name[: -len(name.split("/")[-1])]
