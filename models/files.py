"""Read files, and write them so that a crash at any moment leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from models.errors import FileError

# In the root of every ext4 volume, which is empty all the same.
VOLUME_FOLDER = "lost+found"
# Path, inode, size, time of the last write and of the last change of each file.
FileIdentity = tuple[tuple[str, int, int, int, int], ...]


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_file(path: Path) -> bytes:
    """Read a file that a user names. Raises: FileError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from None


def is_temporary(path: Path) -> bool:
    """Tell whether `write_atomically` is just writing this file."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def read_file_identity(folder: Path, *files: Path) -> FileIdentity:
    """Read what changes when one of these files, or a file in the folder, is written, replaced, added or removed.

    Inodes may be reused, and times be set: it is all of them, and the size.
    Raises: OSError; what is missing is no error.
    """
    paths = list(files)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        paths += sorted(path for path in folder.iterdir() if not is_temporary(path))
    identity: list[tuple[str, int, int, int, int]] = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = path.stat()
            identity.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(identity)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a temporary file, fsync it, rename it, and fsync the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Random: containers that share a folder have the same process ids.
    temporary_file = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary_file.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary_file.replace(path)
    except OSError as error:
        # The caller knows the path, not the temporary file.
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary_file.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
