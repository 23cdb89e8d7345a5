"""Open tar files in WebDataset's form as one source of images: `KEY.png`, `KEY.cls`, `KEY.json`."""

from __future__ import annotations

import contextlib
import json
import tarfile
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from models.errors import DataError
from training.data.image_files import SUFFIXES, damage_error, suffix_of
from training.data.labels import FILE_HEADINGS
from training.data.tables import Table, rows_of_objects


class TarFiles(AbstractContextManager["TarFiles"]):
    """The images of tar files, and what is written beside each.

    Attributes:
        path: what the shards belong to.
        unused: names of the members that were not read.
    """

    def __init__(self, path: Path, shards: list[Path]) -> None:
        self.path = path
        self.unused: tuple[str, ...] = ()
        self._stack = contextlib.ExitStack()
        self._members: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]] = {}
        self._objects: list[dict[str, object]] = []
        for shard in shards:
            self._add(shard, "" if shard == path else f"{shard.relative_to(path).as_posix()}/")

    def names(self) -> list[str]:
        """List the names of the images, in order."""
        return list(self._members)

    def open(self, name: str) -> BinaryIO:
        """Open an image for reading."""
        archive, member = self._members[name]
        return cast(BinaryIO, archive.extractfile(member))

    def table(self) -> Table:
        """Return a row for each image: its name, its label, and what its .json says."""
        return rows_of_objects(self.path, list(enumerate(self._objects, start=1)))

    def _add(self, shard: Path, prefix: str) -> None:
        try:
            archive = self._stack.enter_context(tarfile.open(shard, "r:"))  # noqa: SIM115
            members = [member for member in archive.getmembers() if member.isfile()]
            texts = {m.name: self._read_text(archive, m) for m in members if suffix_of(m.name) in (".cls", ".json")}
        except (tarfile.TarError, EOFError, OSError) as error:
            raise damage_error(shard, error) from None
        used = set()
        for member in members:
            if suffix_of(member.name) in SUFFIXES:
                key = member.name[: member.name.index(".", member.name.rfind("/") + 1)]
                found: dict[str, object] = {FILE_HEADINGS[0]: prefix + member.name}
                used |= {member.name, f"{key}.cls", f"{key}.json"}
                if f"{key}.cls" in texts:
                    found["label"] = texts[f"{key}.cls"]
                found |= _parse(shard / f"{key}.json", texts.get(f"{key}.json", "{}"))
                self._members[prefix + member.name] = (archive, member)
                self._objects.append(found)
        self.unused += tuple(prefix + member.name for member in members if member.name not in used)

    @staticmethod
    def _read_text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
        return cast(BinaryIO, archive.extractfile(member)).read().decode("utf-8", "replace")

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()


def _parse(path: Path, text: str) -> dict[str, object]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(path, f"is not JSON: {error}") from None
    return content if isinstance(content, dict) else {}
