"""Read data sets in shards: WebDataset's tar files, Hugging Face's parquet and Arrow files, folders of npz files.

A shard belongs to the split that is a word of its name, such as `cifar10-test-00000.parquet`, or of its folder's. The
images keep the order of their shards, sorted by name, and of their rows in them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

from models.errors import DataError
from training.data.archive import Folder
from training.data.array_fitting import fit_dataset
from training.data.arrow import ArrowFiles
from training.data.dataset import Dataset
from training.data.decoding import AS_THEY_ARE, Decoding
from training.data.folder_labels import UNLABELLED
from training.data.image_files import SUFFIXES, are_grey, decode_all, suffix_of
from training.data.labels import LabelColumn
from training.data.layout import COLUMN, SPLITS, is_hidden
from training.data.npz import read_npz_datasets
from training.data.row_labels import name_values, read_row_labels
from training.data.webdataset import WebDatasetFiles, has_labels_beside_images

SHARD_SUFFIXES = frozenset({".tar", ".parquet", ".arrow", ".npz"})
# Beside Hugging Face's Arrow files: which of them are the data.
STATE = "state.json"


def is_sharded(path: Path) -> bool:
    """Tell whether a path is a shard, or a folder with shards and without image files.

    Raises: DataError.
    """
    if not path.is_dir():
        suffix = path.suffix.lower()
        return suffix in (".parquet", ".arrow") or (suffix == ".tar" and has_labels_beside_images(path))
    names = [name for name in Folder(path).names() if not is_hidden(name)]
    suffixes = set(map(suffix_of, names))
    return bool(suffixes & SHARD_SUFFIXES) and not suffixes & SUFFIXES


def read_sharded(
    path: Path,
    label_columns: Sequence[LabelColumn] = (),
    unlabelled: bool = False,
    is_test: bool = False,
    decoding: Decoding = AS_THEY_ARE,
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
        if label_columns:
            raise DataError(
                path, "holds npz files, which have no columns; use their labels: --set data.label_columns=[]"
            )
        dataset = fit_dataset(read_npz_datasets(path, shards), decoding)
        return dataclasses.replace(dataset, unused=unused + dataset.unused)
    with WebDatasetFiles(path, shards) if shards[0].suffix.lower() == ".tar" else ArrowFiles(path, shards) as source:
        names = source.names()
        if not names:
            raise DataError(path, f"holds no images in {shards[0].name}; give shards that do")
        columns = name_values(label_columns, source.class_names)
        labels = UNLABELLED if unlabelled else read_row_labels(source.table(), columns)
        pictures = decode_all(source, names, are_grey(source, names, decoding), decoding)
        chosen = {COLUMN + column.column for column in label_columns}
        unused += tuple(name for name in source.unused if name not in chosen)
    labels = labels.take(pictures.rows)
    return Dataset(
        path.name, pictures.images, *labels.number(), unused, pictures.origins, pictures.skipped, labels.factors
    )


def _find_shards(path: Path) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    """Return the shards to train on, those to test on, and the names of all other files."""
    if not path.is_dir():
        return [path], [], ()
    names = sorted(Folder(path).names())
    shards = [name for name in names if not is_hidden(name) and suffix_of(name) in SHARD_SUFFIXES]
    shards = _without_caches(path, names, shards)
    if len(kinds := sorted(set(map(suffix_of, shards)))) > 1:
        raise DataError(path, f"holds {' and '.join(kinds)} files; give one kind only")
    by_purpose: dict[str, list[str]] = {}
    for name in shards:
        by_purpose.setdefault(_purpose(path, name), []).append(name)
    first = next((key for key in ("training", "", "test", "validation") if key in by_purpose), "")
    if first == "training" and "" in by_purpose:
        raise DataError(path / by_purpose[""][0], "belongs to no split, but other files do; rename or remove it")
    training = by_purpose.pop(first)
    test = by_purpose.pop("test", by_purpose.pop("validation", []))
    unused = tuple(name for name in names if name not in {*training, *test})
    return [path / name for name in training], [path / name for name in test], unused


def _purpose(path: Path, name: str) -> str:
    """Return the split of a shard: the one that its own name says, else the folder around it, and so on; "" if none."""
    for part in reversed(name.lower().split("/")):
        found = {SPLITS[word] for word in re.split(r"[^a-z]+", part) if word in SPLITS}
        if len(found) > 1:
            raise DataError(path / name, f"has the names of two splits, {' and '.join(sorted(found))}; rename it")
        if found:
            return found.pop()
    return ""


def _without_caches(path: Path, names: list[str], shards: list[str]) -> list[str]:
    """Leave out Arrow files that Hugging Face's state.json beside them does not list: caches of other operations.

    Raises: DataError for one that is listed and missing.
    """
    kept = list(shards)
    for state in (name for name in names if name.split("/")[-1] == STATE):
        folder = state.removesuffix(STATE)
        try:
            content = json.loads((path / state).read_bytes())
            listed = [folder + str(file["filename"]) for file in content["_data_files"]]
        except (ValueError, LookupError, TypeError):
            continue
        for name in listed:
            if name not in shards:
                raise DataError(path / name, f"is missing, but {state} lists it; fetch it again")
        kept = [name for name in kept if name.rpartition("/")[0] + "/" != (folder or "/") or name in listed]
    return kept
