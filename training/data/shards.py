"""Read data sets in shards: WebDataset's tar files, parquet as Hugging Face writes it, folders of npz files.

A shard whose name begins with a split, such as `test-00000.parquet`, belongs to it. The images keep the order of their
shards, sorted by name, and of their rows in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.allocation import allocate
from training.data.archive import Folder
from training.data.dataset import Dataset, number_classes
from training.data.folder_labels import (
    LABEL_NAME,
    NAMED_COLUMNS,
    UNLABELLED,
    FolderLabels,
    has_values,
    name_classes,
)
from training.data.image_files import SUFFIXES, are_grey, decode_all, suffix_of
from training.data.labels import DEFAULT_COLUMNS, LabelColumn, derive_class_names, read_label_rows
from training.data.layout import COLUMN, SPLITS, is_hidden
from training.data.npz import read_npz
from training.data.parquet import ParquetFiles
from training.data.tables import Table
from training.data.tar import TarFiles

SHARD_SUFFIXES = frozenset({".tar", ".parquet", ".npz"})
_SPLIT = re.compile(r"([A-Za-z]+)(?![A-Za-z])")


def is_sharded(path: Path) -> bool:
    """Tell whether a path is a shard, or a folder with shards and without image files.

    Raises: DataError.
    """
    if not path.is_dir():
        return path.suffix.lower() in (".tar", ".parquet")
    names = [name for name in Folder(path).names() if not is_hidden(name)]
    suffixes = set(map(suffix_of, names))
    return bool(suffixes & SHARD_SUFFIXES) and not suffixes & SUFFIXES


def read_sharded(
    path: Path, label_columns: Sequence[LabelColumn] = (), unlabelled: bool = False, is_test: bool = False
) -> Dataset | None:
    """Read the training or the test images of a data set in shards.

    Args: as for training.data.image_folder.read_image_folder; the columns are those of the parquet files, or of the
        `.json` beside each image in tar files.
    Raises: DataError naming the file at fault.
    """
    training, test, unused = _find_shards(path)
    shards = test if is_test else training
    if not shards:
        return None
    if shards[0].suffix.lower() == ".npz":
        return _read_npz_shards(path, shards, label_columns, unused)
    with TarFiles(path, shards) if shards[0].suffix.lower() == ".tar" else ParquetFiles(path, shards) as source:
        names = source.names()
        if not names:
            raise DataError(path, f"holds no images in {shards[0].name}; give shards that do")
        labels = UNLABELLED if unlabelled else _read_labels(source.table(), label_columns)
        images = decode_all(source, names, "L" if are_grey(source, names) else "RGB")
        chosen = {COLUMN + column.column for column in label_columns}
        unused += tuple(name for name in source.unused if name not in chosen)
    return Dataset(path.name, images, *_number(labels), unused)


def _find_shards(path: Path) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    """Return the shards to train on, those to test on, and the names of all other files."""
    if not path.is_dir():
        return [path], [], ()
    names = sorted(Folder(path).names())
    shards = [name for name in names if not is_hidden(name) and suffix_of(name) in SHARD_SUFFIXES]
    if len(kinds := sorted(set(map(suffix_of, shards)))) > 1:
        raise DataError(path, f"holds {' and '.join(kinds)} files; give one kind only")
    by_purpose: dict[str, list[str]] = {}
    for name in shards:
        by_purpose.setdefault(_purpose(name), []).append(name)
    first = next((key for key in ("training", "", "test", "validation") if key in by_purpose), "")
    if first == "training" and "" in by_purpose:
        raise DataError(path / by_purpose[""][0], "belongs to no split, but other files do; rename or remove it")
    training = by_purpose.pop(first)
    test = by_purpose.pop("test", by_purpose.pop("validation", []))
    unused = tuple(name for name in names if name not in {*training, *test})
    return [path / name for name in training], [path / name for name in test], unused


def _purpose(name: str) -> str:
    match = _SPLIT.match(name.rpartition("/")[2])
    return SPLITS.get(match[1].lower(), "") if match else ""


def _read_labels(table: Table, columns: Sequence[LabelColumn]) -> FolderLabels:
    if columns:
        rows = [row.names for row in read_label_rows(table, columns)]
        return FolderLabels([" ".join(row) for row in rows], derive_class_names(columns, rows))
    if not has_values(table, "label"):
        return UNLABELLED
    named = NAMED_COLUMNS if has_values(table, LABEL_NAME) else (*DEFAULT_COLUMNS, *DEFAULT_COLUMNS)
    return name_classes([row.names for row in read_label_rows(table, named)])


def _number(labels: FolderLabels) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if not labels.texts:
        return None, ()
    ids = {name: k for k, name in enumerate(labels.class_names)}
    return np.array([ids[text] for text in labels.texts], np.int64), labels.class_names


def _read_npz_shards(
    path: Path, shards: list[Path], label_columns: Sequence[LabelColumn], unused: tuple[str, ...]
) -> Dataset:
    if label_columns:
        raise DataError(path, "holds npz files, which have no columns; use their labels: --set data.label_columns=[]")
    parts = [read_npz(shard) for shard in shards]
    first = parts[0]
    for shard, part in zip(shards, parts):
        if part.images.shape[1:] != first.images.shape[1:] or part.label_names != first.label_names:
            raise DataError(shard, f"differs from {shards[0].name} in the shape of its images or in its label_names")
        if (part.labels is None) != (first.labels is None):
            raise DataError(shard, f"and {shards[0].name} must both have labels, or none")
    images = allocate((sum(len(part.images) for part in parts), *first.images.shape[1:]), path)
    np.concatenate([part.images for part in parts], out=images)
    unused += tuple(dict.fromkeys(name for part in parts for name in part.unused))
    labels = [part.labels for part in parts if part.labels is not None]
    if not labels:
        return Dataset(path.name, images, unused=unused)
    return Dataset(path.name, images, *number_classes(np.concatenate(labels), first.label_names), unused)
