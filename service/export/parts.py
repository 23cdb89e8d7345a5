"""Say what a published file or folder must be, so that it can be told when it is not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from models.base import Record


class Part(Record):
    """What a published file or folder must be; a folder's name ends with a slash.

    Attributes:
        files, bytes: how many, and their size together.
        sha256: of the file; for a folder, of its lines "sha256  name", sorted by name, as sha256sum prints them.
    """

    first_fields = frozenset({"files", "bytes", "sha256"})
    files: int = 1
    bytes: int
    sha256: str


def folder_part(files: Mapping[str, Part]) -> Part:
    """A folder's part from those of its files."""
    lines = "".join(f"{files[name].sha256}  {name}\n" for name in sorted(files))
    return Part(
        files=len(files),
        bytes=sum(part.bytes for part in files.values()),
        sha256=hashlib.sha256(lines.encode()).hexdigest(),
    )
