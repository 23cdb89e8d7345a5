"""Open tar files in WebDataset's form as one source of images: `KEY.png`, `KEY.cls`, `KEY.json`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO

from models.errors import DataError
from training.data.archive import Tar
from training.data.image_files import SUFFIXES, read_bytes, suffix_of
from training.data.labels import FILE_HEADINGS
from training.data.layout import is_hidden
from training.data.tables import Table, rows_of_objects

# What says something about the image of the same key.
LABEL_SUFFIXES = (".cls", ".json")


class WebDatasetFiles(AbstractContextManager["WebDatasetFiles"]):
    """The images of tar files, and what is written beside each.

    Attributes:
        path: what the shards belong to.
        unused: names of the members that were not read.
        class_names: none: labels are as they stand in the files.
    """

    class_names: Mapping[str, list[str]] = MappingProxyType({})

    def __init__(self, path: Path, shards: list[Path]) -> None:
        self.path = path
        self.unused: tuple[str, ...] = ()
        self._members: dict[str, tuple[Tar, str]] = {}
        self._objects: list[dict[str, object]] = []
        with contextlib.ExitStack() as stack:
            for shard in shards:
                archive = stack.enter_context(Tar(shard))
                self._add(archive, "" if shard == path else f"{shard.relative_to(path).as_posix()}/")
            self._stack = stack.pop_all()

    def names(self) -> list[str]:
        """List the names of the images, in order."""
        return list(self._members)

    def open(self, name: str) -> BinaryIO:
        """Open an image for reading."""
        archive, member = self._members[name]
        return archive.open(member)

    def table(self) -> Table:
        """Return a row for each image: its name, its label, and what its .json says."""
        return rows_of_objects(self.path, list(enumerate(self._objects, start=1)))

    def _add(self, archive: Tar, prefix: str) -> None:
        shard, members = archive.path, archive.names()
        present, images = set(members), _images_by_key(shard, members)
        for key, member in images.items():
            found: dict[str, object] = {FILE_HEADINGS[0]: prefix + member}
            if f"{key}.cls" in present:
                found["label"] = read_bytes(archive, f"{key}.cls").decode("utf-8", "replace")
            if f"{key}.json" in present:
                found |= _parse(shard / f"{key}.json", read_bytes(archive, f"{key}.json"))
            self._members[prefix + member] = (archive, member)
            self._objects.append(found)
        used = {*images.values(), *(key + suffix for key in images for suffix in LABEL_SUFFIXES)}
        self.unused += tuple(prefix + member for member in members if member not in used)

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()


def has_labels_beside_images(shard: Path) -> bool:
    """Tell whether a tar has a `.cls` or `.json` of an image's key, so that it is in WebDataset's form.

    Raises: DataError.
    """
    with Tar(shard) as archive:
        names = archive.names()
    keys = {_key(name) for name in names if suffix_of(name) in SUFFIXES}
    return any(name.endswith(LABEL_SUFFIXES) and _key(name) in keys for name in names)


def _images_by_key(shard: Path, members: list[str]) -> dict[str, str]:
    images: dict[str, str] = {}
    for member in members:
        if suffix_of(member) in SUFFIXES and not is_hidden(member):
            key = _key(member)
            if key in images:
                raise DataError(
                    shard / member, f"and {images[key]} are two images of one record; keep one of them in each record"
                )
            images[key] = member
    return images


def _key(member: str) -> str:
    """Return what the files of a record have in common: all before the first dot of the file's own name."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _parse(path: Path, text: bytes) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(path, f"is not JSON: {error}") from None
    return content if isinstance(content, dict) else {}
