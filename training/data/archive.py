"""Open a folder or a zip as one source of named files; nothing is extracted to disk."""

from __future__ import annotations

import contextlib
import itertools
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
    """The files of a folder, by relative POSIX name.

    Attributes:
        path: the folder.
        csv_beside: where a csv of labels may lie next to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv_beside = path.absolute().parent / (path.absolute().name + ".csv")

    def names(self) -> list[str]:
        """List the names of all files, in sub-folders too; links are followed.

        Raises: DataError.
        """

        def refuse(error: OSError) -> None:
            raise DataError(Path(error.filename), f"cannot be read: {error.strerror}")

        names: list[str] = []
        visited: set[Path] = set()
        for root, folders, files in os.walk(self.path, onerror=refuse, followlinks=True):
            folder = Path(root)
            visited.add(folder.resolve())
            # A link to a folder that contains the link would never end.
            folders[:] = [child for child in folders if (folder / child).resolve() not in visited]
            names += [(folder / file).relative_to(self.path).as_posix() for file in files]
        return names

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        return (self.path / name).open("rb")


class Zip(AbstractContextManager["Zip"]):
    """The members of a zip archive, with the interface of `Folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv_beside = path.with_suffix(".csv")
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise DataError(path, f"is not a complete zip archive ({error}); make or fetch it again") from None
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror or error}") from None

    def names(self) -> list[str]:
        """List the names of all members that are files.

        Raises: DataError.
        """
        names = [name for name in self._archive.namelist() if not name.endswith("/")]
        ordered = sorted(names)
        for name, next_name in itertools.pairwise(ordered):
            if name == next_name:
                raise DataError(self.path / name, "is in the archive twice; make the zip again")
        return names

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading."""
        return cast(BinaryIO, self._archive.open(name))

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._archive.close()


FileSource = Folder | Zip


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[FileSource]:
    """Open a folder or zip.

    Raises: DataError.
    """
    with contextlib.ExitStack() as stack:
        yield Folder(path) if path.is_dir() else stack.enter_context(Zip(path))
