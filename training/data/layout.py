"""Find out what the files of a folder or zip are: training images, test images, or neither."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from models.errors import DataError
from training.data.archive import FileSource, archive_suffix
from training.data.image_files import SUFFIXES, is_image, suffix_of

SPLITS = {
    "train": "training",
    "training": "training",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "test",
}
IMAGE_FOLDERS = frozenset({"image", "images", "img", "imgs", "jpegimages"})
TARGET_FOLDERS = frozenset(
    {
        *("mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "segmentations"),
        *("gt", "groundtruth", "ground_truth", "trimaps", "depth", "edges"),
    }
)
# What people and systems put beside images, and what says nothing about them.
_HARMLESS = re.compile(
    r"(croissant|dataset_infos?|dataset_dict|state|manifest)\.json|cache-.*\.arrow|.*~|(readme|licen[cs]e|copying|notice|citation|changelog)([._-].*)?|.*\.(md|rst|pdf)|thumbs\.db|desktop\.ini|icon\r"
)
# What macOS, Synology and Windows add to folders; copies of pictures may lie in them.
_SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "lost+found"}
)
# An image of an imagefolder export: its shard's folder, and its index.
_EXPORTED = re.compile(r"(.*[0-9]{5}/)([0-9]+)\.[a-z]+")
EMPTY = "empty folders"
_OTHER_PLACE = "give the folder or zip that does"
# How the columns of a table that are not read are listed.
COLUMN = "column "
# Fewer files of one suffix are named, more are counted.
MAX_NAMED = 3
# So many skipped files are listed by name.
MAX_LISTED = 10


class Part(NamedTuple):
    """The images of one purpose, in order, and the innermost folder that holds all of them: "" or "a/b/"."""

    images: list[str]
    folder: str


class Layout(NamedTuple):
    """What the files of a folder or zip are.

    Attributes:
        names: all files, hidden ones too, and empty folders, with a slash.
        training: the images to train on; at least one.
        test: the images of the data's own test split, or of its validation split; None if it has neither.
    """

    names: list[str]
    training: Part
    test: Part | None

    def list_unused(self, tables: Collection[str]) -> tuple[str, ...]:
        """List the files that are neither images of a part nor one of the tables that were read, sorted."""
        used = {*tables, *self.training.images, *(self.test.images if self.test else ())}
        return tuple(sorted(name for name in self.names if name not in used))


def find_layout(source: FileSource) -> Layout:
    """Find the images of a folder or zip, in one set or in the folders of a training and a test split.

    Raises: DataError if there are no images, or if its folders are neither classes nor splits.
    """
    names = source.names()
    images = [name for name in names if not name.endswith("/") and not is_hidden(name) and is_image(source, name)]
    if not images:
        suffixes = ", ".join(sorted(SUFFIXES))
        unused = describe_unused(names)
        found = f" (found {unused})" if unused else ""
        raise DataError(source.path, f"holds no images ({suffixes}){found}; {_suggest_archives(source, names)}")
    whole = _part(_sort(images, frozenset(names)))
    heads = _heads(whole)
    _refuse_targets(source, whole, heads)
    splits = [head for head in heads if head.lower() in SPLITS]
    if len(splits) < 2:
        return Layout(names, whole, None)
    parts = _find_splits(source, whole, heads, splits)
    for part in parts.values():
        _refuse_targets(source, part, _heads(part))
    return Layout(names, parts["training"], parts.get("test", parts.get("validation")))


def _suggest_archives(source: FileSource, names: Iterable[str]) -> str:
    """Return what to give instead of a folder whose images are in archives."""
    if not source.path.is_dir():
        return _OTHER_PLACE
    archives = {
        name.lower().removesuffix(archive_suffix(Path(name))): shlex.quote(str(source.path / name))
        for name in sorted(names)
        if archive_suffix(Path(name)) and not is_hidden(name)
    }
    by_purpose = {SPLITS[stem]: archive for stem, archive in archives.items() if stem in SPLITS}
    train, test = by_purpose.get("training"), by_purpose.get("test", by_purpose.get("validation"))
    if train and test:
        return f"give its archives: --data {train} --set data.test={test}"
    return f"give one of its archives: --data {next(iter(archives.values()))}" if archives else _OTHER_PLACE


def _find_splits(source: FileSource, whole: Part, heads: list[str], splits: list[str]) -> dict[str, Part]:
    """Return the parts by purpose, if the folders are splits and nothing else; or the whole, if they are classes."""
    purposes = [SPLITS[split.lower()] for split in splits]
    folders = " and ".join(f"{split}/" for split in splits)
    if "training" not in purposes or len(set(purposes)) < len(purposes):
        raise DataError(source.path / whole.folder, f"holds {folders}: give one folder to train on, or rename them")
    others = [f"{head}/" if head else "images" for head in heads if head not in splits]
    if others:
        raise DataError(
            source.path / whole.folder,
            f"holds {folders}, which are splits, beside {', '.join(others[:MAX_NAMED])}; "
            "keep only splits or only classes in it",
        )
    parts = {
        purpose: _part([name for name in whole.images if name.startswith(f"{whole.folder}{split}/")])
        for purpose, split in zip(purposes, splits)
    }
    if parts["training"].folder in (f"{whole.folder}{split}/" for split in splits):
        # Where training has folders, a single one in another split is a class, not a folder around everything.
        parts = {
            purpose: part._replace(folder=f"{whole.folder}{split}/")
            for (purpose, part), split in zip(parts.items(), splits)
        }
    return parts


def _sort(images: Iterable[str], names: Collection[str]) -> list[str]:
    """Sort images by name; those of our own export by their index, which is the order of its other formats."""
    by_name = sorted(images)
    matches = [_EXPORTED.fullmatch(name) for name in by_name]
    if not all(match and f"{match[1]}metadata.jsonl" in names for match in matches):
        return by_name
    indexes = {match[0]: int(match[2]) for match in matches if match}
    return sorted(by_name, key=indexes.__getitem__)


def _part(images: list[str]) -> Part:
    return Part(images, common_folder(images))


def _heads(part: Part) -> list[str]:
    """Return the folders directly inside a part's folder, "" for images that lie there themselves."""
    return list(dict.fromkeys(name[len(part.folder) :].rpartition("/")[0].split("/")[0] for name in part.images))


def _refuse_targets(source: FileSource, part: Part, heads: list[str]) -> None:
    """Refuse pictures beside their masks: neither is a class."""
    pictures = [head for head in heads if head.lower() in IMAGE_FOLDERS]
    targets = [head for head in heads if head.lower() in TARGET_FOLDERS]
    if pictures and targets:
        folder = source.path / part.folder
        raise DataError(
            folder,
            f"holds {pictures[0]}/ and {targets[0]}/: images and their masks or annotations, which are no classes; "
            f"give --data {folder / pictures[0]}, or move {targets[0]}/ elsewhere",
        )


def is_hidden(name: str) -> bool:
    """Tell whether a file or one of its folders is hidden, or is what a system adds to folders and archives."""
    return any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in name.split("/"))


def common_folder(names: Sequence[str]) -> str:
    """Return the folder that holds everything as a prefix: "", or "faces/" if a zip wraps everything in one."""
    prefix = ""
    while names:
        heads = {name[len(prefix) :].partition("/")[::2] for name in names}
        folders = {folder for folder, _ in heads}
        if len(folders) > 1 or not all(rest for _, rest in heads):
            break
        prefix += folders.pop() + "/"
    return prefix


def describe_unused(names: Iterable[str]) -> str:
    """Return a short list of files, such as `dataset.json, 14 .txt, 2 hidden`; "" if there are none."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(names):
        kinds.setdefault(_kind(name), []).append(name)
    return ", ".join(
        ", ".join(files)
        if (kind.startswith(".") or kind == EMPTY) and len(files) <= MAX_NAMED
        else f"{len(files)} {kind}"
        for kind, files in kinds.items()
    )


def describe_skipped(names: Sequence[str]) -> str:
    """Return the number of damaged images that were left out, and the first of them."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"{len(names)} damaged: {', '.join(names[:MAX_LISTED])}{more}"


def _kind(name: str) -> str:
    if is_hidden(name):
        return "hidden"
    if name.endswith("/"):
        return EMPTY
    if name.startswith(COLUMN):
        # A kind of its own, so that it is named.
        return f".{name}"
    suffix = suffix_of(name)
    if suffix in SUFFIXES:
        return f"images in {name.rpartition('/')[0].split('/')[0] or '.'}/"
    return suffix or "without suffix"


def may_matter(name: str) -> bool:
    """Tell whether an unused file may hold images or labels, as far as its name says."""
    return not is_hidden(name) and not _HARMLESS.fullmatch(PurePosixPath(name).name.lower())
