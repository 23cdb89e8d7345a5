"""Read the labels of images in a folder or zip.

Without chosen columns, these are tried in turn: `labels.csv` inside; a csv of the same name beside; Hugging Face's
`metadata.csv` or `metadata.jsonl` with a column `label`; StyleGAN's `dataset.json`; class folders. With chosen columns,
the first table that has them. Class folders that agree with the metadata or dataset.json name the classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.archive import FileSource
from training.data.image_files import read_bytes
from training.data.label_files import STYLEGAN_JSON, LabelFile, LabelFiles
from training.data.labels import (
    DEFAULT_COLUMNS,
    FILE_HEADINGS,
    LabelColumn,
    LabelFactor,
    derive_class_names,
    find_factors,
    has_columns,
    read_label_rows,
    sort_labels,
)
from training.data.layout import COLUMN, Layout, Part
from training.data.tables import Table, TableRow

# Beside `label` in the metadata of exports.
LABEL_NAME = "label_name"
NAMED_COLUMNS = (*DEFAULT_COLUMNS, LabelColumn(column=LABEL_NAME))
_STORAGE_FOLDER = re.compile(r"[0-9]{5}")
_NUMBERED_FILE = re.compile(r"(img)?([0-9]{1,18})")
SPLIT_HEADINGS = frozenset({"split", "partition", "subset", "is_test", "is_train", "usage"})
# FFHQ keeps so many images in a folder, named after the first of them.
_IMAGES_PER_FOLDER = 1000


class FolderLabels(NamedTuple):
    """The labels of a part's images.

    Attributes:
        texts: the label of each image; empty if there are no labels.
        class_names: the classes that occur, in order; empty if there are no labels.
        factors: the columns whose values make the label; empty if they were not chosen.
        tables: names of the files inside that were read.
        unread: columns of them that say which images are for testing, which is not read.
    """

    texts: list[str]
    class_names: tuple[str, ...]
    factors: tuple[LabelFactor, ...] = ()
    tables: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def take(self, rows: NDArray[np.int64]) -> FolderLabels:
        """Return the labels of some images, and the classes that occur among them."""
        if len(rows) == len(self.texts) or not self.texts:
            return self
        texts = [self.texts[row] for row in rows]
        occurring = set(texts)
        return self._replace(texts=texts, class_names=tuple(name for name in self.class_names if name in occurring))

    def number(self) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        """Return the class of each image, int64 (N,), and the names of the classes; None and () without labels."""
        if not self.texts:
            return None, ()
        ids = {name: k for k, name in enumerate(self.class_names)}
        return np.array([ids[text] for text in self.texts], np.int64), self.class_names


UNLABELLED = FolderLabels([], ())


def from_rows(columns: Sequence[LabelColumn], rows: Sequence[tuple[str, ...]]) -> FolderLabels:
    """Return the labels of images that have one name per column."""
    factors = find_factors(columns, rows)
    return FolderLabels([" ".join(row) for row in rows], derive_class_names(factors, rows), factors)


def read_labels(source: FileSource, layout: Layout, part: Part, columns: Sequence[LabelColumn] = ()) -> FolderLabels:
    """Read the label of each image of a part by the rules above.

    Args:
        source: the folder or zip.
        layout: what its files are.
        part: the images in question.
        columns: the chosen columns of a table; if given, there must be a table with them.
    Raises: DataError naming the file at fault.
    """
    files = LabelFiles(source, layout, part)
    if columns:
        return _by_tables(files, files.with_columns(columns), columns)
    standard = files.labels_csv() or files.beside()
    if standard:
        return _by_tables(files, [standard], DEFAULT_COLUMNS)
    stated = _by_metadata(files) or _by_stylegan_json(files)
    if stated is None:
        return _by_folder(source, part)
    folders = _class_folders(part)
    if folders and (not stated.texts or _agree(folders, stated.texts)):
        return FolderLabels(folders, sort_labels(folders), tables=stated.tables)
    return stated


def _by_tables(files: LabelFiles, tables: Sequence[LabelFile], columns: Sequence[LabelColumn]) -> FolderLabels:
    rows = _rows_of_images(files, tables, columns)
    names = tuple(file.name for file in tables if file.name)
    chosen = {column.column.lower() for column in columns}
    headings = dict.fromkeys(heading for file in tables for heading in file.table.headings)
    unread = tuple(COLUMN + one for one in headings if one.lower() in SPLIT_HEADINGS and one.lower() not in chosen)
    return from_rows(columns, rows)._replace(tables=names, unread=unread)


def _by_metadata(files: LabelFiles) -> FolderLabels | None:
    """Read Hugging Face's metadata; None if there is none with labels. Labels that are all empty are no labels."""
    tables = [file for file in files.metadata() if has_columns(file.table, DEFAULT_COLUMNS)]
    if not tables:
        return None
    names = tuple(file.name for file in tables if file.name)
    if not any(has_values(file.table, "label") for file in tables):
        return UNLABELLED._replace(tables=names)
    if not all(has_values(file.table, LABEL_NAME) for file in tables):
        return _by_tables(files, tables, DEFAULT_COLUMNS)
    return name_classes(_rows_of_images(files, tables, NAMED_COLUMNS))._replace(tables=names)


def name_classes(rows: Sequence[tuple[str, ...]]) -> FolderLabels:
    """Return labels by their names, in the order of the labels, from rows of NAMED_COLUMNS."""
    order = {label: rank for rank, label in enumerate(sort_labels(row[0] for row in rows))}
    distinct = sorted(set(rows), key=lambda row: (order[row[0]], row[1]))
    return FolderLabels([row[1] for row in rows], tuple(dict.fromkeys(row[1] for row in distinct)))


def has_values(table: Table, heading: str) -> bool:
    """Tell whether a table has a column that is not empty."""
    column = table.find_column(heading)
    return column is not None and any(row.values[column] for row in table.rows)


def _rows_of_images(
    files: LabelFiles, tables: Sequence[LabelFile], columns: Sequence[LabelColumn]
) -> list[tuple[str, ...]]:
    """Return one name per column for each image of the part; every image has one row, every row an image."""
    names_of: dict[str, tuple[str, ...]] = {}
    wanted = set(files.part.images)
    for file in tables:
        path = file.table.path
        for row in read_label_rows(file.table, columns):
            image = files.find_file(row.file, file.folder)
            if image in names_of:
                raise DataError(path, f"lists {row.file!r} again on line {row.line}; keep one row per image")
            if image in wanted:
                names_of[image] = row.names
            elif image is None or not files.has_splits:
                problem = "missing; add it" if image is None else "no image that can be read; replace it"
                raise DataError(
                    files.source.path / (image or file.folder + row.file),
                    f"is listed in {path.name}, line {row.line}, but {problem} or drop the row",
                )
    listed = " or ".join(dict.fromkeys(file.table.path.name for file in tables))
    for image in files.part.images:
        if image not in names_of:
            raise DataError(files.source.path / image, f"has no row in {listed}; add one or remove the image")
    return [names_of[image] for image in files.part.images]


def _by_stylegan_json(files: LabelFiles) -> FolderLabels | None:
    """Read StyleGAN's dataset.json, `{"labels": [[file, class], ...]}` or labels null; None if there is none."""
    name = files.stylegan_json()
    if name is None:
        return None
    path = files.source.path / name
    try:
        content = json.loads(read_bytes(files.source, name))
    except ValueError:
        return None
    if not isinstance(content, dict) or "labels" not in content:
        return None
    labels = content["labels"]
    if labels is None:
        return UNLABELLED._replace(tables=(name,))
    if not isinstance(labels, list) or not all(map(_is_stylegan_row, labels)):
        raise DataError(
            path,
            "has labels that are not [file, class number] each; mend it, or train without labels: "
            "--set data.unlabelled=true",
        )
    rows = [TableRow(k, [file, str(label)]) for k, (file, label) in enumerate(labels, start=1)]
    table = Table(path, [FILE_HEADINGS[0], "label"], rows)
    return _by_tables(files, [LabelFile(name, name.removesuffix(STYLEGAN_JSON), table)], DEFAULT_COLUMNS)


def _is_stylegan_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and type(row[1]) is int


def _by_folder(source: FileSource, part: Part) -> FolderLabels:
    """Read labels from class folders, in which storage folders of five digits may lie."""
    folders = _folders_of_images(part)
    if _are_storage_folders(part, folders):
        folders = [path[:-1] for path in folders]
    # As in Tiny ImageNet's `n01443537/images/0.png`.
    while all(len(path) > 1 for path in folders) and len({path[-1] for path in folders}) == 1:
        folders = [path[:-1] for path in folders]
    for name, path in zip(part.images, folders):
        if len(path) > 1:
            raise DataError(
                source.path / name,
                "is too deep; put images directly into one folder per class, or train without labels: "
                "--set data.unlabelled=true",
            )
        if len(path) != len(folders[0]):
            raise DataError(
                source.path / name,
                f"and {part.images[0]} are not at the same depth; put all images into class folders, or none, "
                "or train without labels: --set data.unlabelled=true",
            )
    if not folders[0]:
        return UNLABELLED
    texts = [path[0] for path in folders]
    return FolderLabels(texts, sort_labels(texts))


def _folders_of_images(part: Part) -> list[tuple[str, ...]]:
    return [PurePosixPath(name[len(part.folder) :]).parts[:-1] for name in part.images]


def _are_storage_folders(part: Part, folders: list[tuple[str, ...]]) -> bool:
    """Tell whether the innermost folders only bound the number of files in a folder.

    As StyleGAN writes them, `00001/img00001234.png`, FFHQ, `01000/01234.png`, or an export, `cat/00001/1234.png`.
    """
    if not all(path and _STORAGE_FOLDER.fullmatch(path[-1]) for path in folders):
        return False
    if all(len(path) > 1 for path in folders):
        return True
    stems = (_NUMBERED_FILE.fullmatch(PurePosixPath(name).stem) for name in part.images)
    return all(stem is not None and _holds(path[-1], stem) for path, stem in zip(folders, stems))


def _holds(folder: str, stem: re.Match[str]) -> bool:
    is_stylegan = stem[1] is not None and stem[2][:5] == folder and len(stem[2]) == 8
    return is_stylegan or int(stem[2]) // _IMAGES_PER_FOLDER * _IMAGES_PER_FOLDER == int(folder)


def _class_folders(part: Part) -> list[str] | None:
    """Return the folder of each image if all lie in folders that can be classes: not in numbered ones."""
    folders = _folders_of_images(part)
    if any(len(path) != 1 for path in folders) or all(_STORAGE_FOLDER.fullmatch(path[0]) for path in folders):
        return None
    return [path[0] for path in folders]


def _agree(some: Iterable[str], others: Iterable[str]) -> bool:
    """Tell whether two labels of each image differ in their names only."""
    pairs = set(zip(some, others))
    return len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
