"""A folder or a zip as files by name; nothing is extracted to disk.

Knows: listing and opening them, and where a csv beside them would lie. Does not know: pictures,
labels.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from models.errors import DataError


class Folder:
    """Files by their relative POSIX name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv_beside = path.absolute().parent / (path.absolute().name + ".csv")

    def names(self) -> list[str]:
        def refuse(error: OSError) -> None:
            raise DataError(Path(error.filename), f"cannot be read: {error.strerror}")

        found, seen = [], set()
        for root, folders, files in os.walk(self.path, onerror=refuse, followlinks=True):
            here = Path(root)
            seen.add(here.resolve())
            # A link to a folder that holds it would never end.
            folders[:] = [folder for folder in folders if (here / folder).resolve() not in seen]
            found += [(here / file).relative_to(self.path).as_posix() for file in files]
        return found

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")


class Zip(AbstractContextManager["Zip"]):
    """The same for an archive's members."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv_beside = path.with_suffix(".csv")
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise DataError(path, f"is not a whole zip archive ({error}); make or fetch it again") from None
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror or error}") from None

    def names(self) -> list[str]:
        names = [name for name in self._archive.namelist() if not name.endswith("/")]
        for a, b in zip(sorted(names), sorted(names)[1:]):
            if a == b:
                raise DataError(self.path / a, "is in the archive twice; make the zip again")
        return names

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self._archive.open(name))

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._archive.close()


Source = Folder | Zip


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """A folder or zip of files by name.

    Raises: DataError.
    """
    with contextlib.ExitStack() as stack:
        yield Folder(path) if path.is_dir() else stack.enter_context(Zip(path))
