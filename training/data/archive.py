"""Open a folder, a zip or a tar as one source of named files; nothing is extracted to disk.

Names are POSIX names relative to the source, and valid text whatever the encoding on disk or in the archive.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, BinaryIO, cast

from models.errors import DataError

# In the flags of a zip's member: its name is UTF-8.
ZIP_UTF8 = 0x800
COMPRESSED_TARS: dict[str, Callable[..., Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tbz2": bz2.open,
    ".tar.xz": lzma.open,
    ".txz": lzma.open,
}
# What a tar, or its compression, was observed to raise on damaged files.
TAR_ERRORS = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


def readable(name: str) -> str:
    """Return a file name as valid text: a part that is not UTF-8 on disk is read as Windows-1252 or Latin-1."""
    return "/".join(map(_decode_part, name.split("/")))


def _decode_part(part: str) -> str:
    try:
        part.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(part)
        try:
            return raw.decode("cp1252")
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    return part


class Folder:
    """The files of a folder, by relative POSIX name.

    Attributes:
        path: the folder.
        csv_beside: where a csv of labels may lie next to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv_beside = path.absolute().parent / (path.absolute().name + ".csv")
        self._on_disk: dict[str, str] = {}

    def names(self) -> list[str]:
        """List the names of all files, in sub-folders too, and of empty folders, with a slash; links are followed.

        Raises: DataError.
        """

        def refuse(error: OSError) -> None:
            raise DataError(Path(error.filename), f"cannot be read: {error.strerror}")

        self._on_disk = {}
        visited: set[Path] = set()
        for root, folders, files in os.walk(self.path, onerror=refuse, followlinks=True):
            folder = Path(root)
            visited.add(folder.resolve())
            # A link to a folder that contains the link would never end.
            empty = [""] if not folders and not files and folder != self.path else []
            folders[:] = [child for child in folders if (folder / child).resolve() not in visited]
            for file in files + empty:
                on_disk = (folder / file).relative_to(self.path).as_posix() + ("" if file else "/")
                name = readable(on_disk)
                if name in self._on_disk:
                    raise DataError(self.path / name, "is the name of two files in different encodings; rename one")
                self._on_disk[name] = on_disk
        return list(self._on_disk)

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        return (self.path / self._on_disk.get(name, name)).open("rb")


class Zip(AbstractContextManager["Zip"]):
    """The members of a zip archive, with the interface of `Folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv_beside = path.with_suffix(".csv")
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise DataError(path, f"is not a complete zip archive ({error}); make or fetch it again") from None
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror or error}") from None

    def names(self) -> list[str]:
        """List the names of all members that are files, and of empty folders, with a slash.

        Raises: DataError.
        """
        self._members = {}
        folders = []
        for member in self._archive.infolist():
            name = _member_name(member)
            if member.is_dir() or member.filename.endswith("\\"):
                folders.append(name)
                continue
            if name in self._members:
                raise DataError(self.path / name, "is in the archive twice; make the zip again")
            self._members[name] = member
        return [*self._members, *_empty_folders(folders, self._members)]

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading."""
        return cast(BinaryIO, self._archive.open(self._members.get(name, name)))

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._archive.close()


def _member_name(member: zipfile.ZipInfo) -> str:
    """Return a member's name with slashes; programs write UTF-8 without its flag, and backslashes on Windows."""
    name = member.filename
    if not member.flag_bits & ZIP_UTF8:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return _with_slashes(name)


def _with_slashes(name: str) -> str:
    # Nothing is written to disk, so that `..` leads nowhere.
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _empty_folders(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """Return the folders that hold neither files nor folders, each with a slash."""
    holders = {str(parent) for name in (*folders, *files) for parent in PurePosixPath(name).parents}
    return [f"{folder}/" for folder in folders if folder and folder not in holders]


class Tar(AbstractContextManager["Tar"]):
    """The members of a tar archive, with the interface of `Folder`.

    A compressed one is unpacked into an unlinked temporary file, because its members can only be read in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.csv_beside = path.with_name(path.name[: -len(archive_suffix(path))] + ".csv")
        self._members: dict[str, tarfile.TarInfo] = {}
        self._stack = contextlib.ExitStack()
        try:
            file = self._open_uncompressed(path)
            self._archive = self._stack.enter_context(tarfile.open(fileobj=file, mode="r:"))  # noqa: SIM115
        except TAR_ERRORS as error:
            self._stack.close()
            raise _tar_error(path, error) from None

    def _open_uncompressed(self, path: Path) -> IO[bytes]:
        decompress = COMPRESSED_TARS.get(archive_suffix(path))
        if decompress is None:
            return self._stack.enter_context(path.open("rb"))
        file: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        with decompress(path) as packed:
            shutil.copyfileobj(packed, file)
        file.seek(0)
        return file

    def names(self) -> list[str]:
        """List the names of all members that are files or links to them, in their order, and of empty folders.

        Raises: DataError.
        """
        self._members = {}
        try:
            members = self._archive.getmembers()
        except TAR_ERRORS as error:
            raise _tar_error(self.path, error) from None
        for member in members:
            if member.isfile() or member.islnk() or member.issym():
                name = _with_slashes(readable(member.name))
                if name in self._members:
                    raise DataError(self.path / name, "is in the archive twice; make the tar again")
                self._members[name] = member
        folders = [_with_slashes(readable(member.name)) for member in members if member.isdir()]
        return [*self._members, *_empty_folders(folders, self._members)]

    def open(self, name: str) -> BinaryIO:
        """Open a member for reading.

        Raises: OSError for a link to something else than a file of the archive.
        """
        try:
            file = self._archive.extractfile(self._members[name])
        except (KeyError, RecursionError):
            file = None
        if file is None:
            raise OSError("a link to no file in the archive")
        return cast(BinaryIO, file)

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()


def _tar_error(path: Path, error: BaseException) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return DataError(path, f"cannot be read as a tar ({reason}); make or fetch it again")


FileSource = Folder | Zip | Tar


def archive_suffix(path: Path) -> str:
    """Return the suffix that says which archive a file is, such as ".zip" or ".tar.gz"; "" if it is none."""
    name = path.name.lower()
    return next((suffix for suffix in (".zip", ".tar", *COMPRESSED_TARS) if name.endswith(suffix)), "")


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[FileSource]:
    """Open a folder, zip or tar.

    Raises: DataError.
    """
    if path.is_dir():
        yield Folder(path)
        return
    with Zip(path) if archive_suffix(path) == ".zip" else Tar(path) as archive:
        yield archive
