"""Write files unseen and publish them together, or not at all.

On a local file system they are written to a hidden folder, fsynced and renamed; on an object store each appears with
one PUT or one multipart completion.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from models.files import sync_folder
from service.export.parts import Part, folder_part
from service.export.storage_errors import CANNOT_BE_WRITTEN, wrap_storage_errors

# Hidden: the Hugging Face loaders and most others pass over it.
PRIVATE = ".ganmint"
DRAFTS_DIR = f"{PRIVATE}/aside"
# What an object store's upload keeps in memory; S3 takes up to 10,000 such parts.
BLOCK_BYTES = 16 << 20
MKDIR_TRIES = 20


class HashingWriter(io.RawIOBase):
    """A file of a draft: counts and hashes what passes. Not seekable, so nothing is patched afterwards."""

    def __init__(self, url: str, file: BinaryIO) -> None:
        super().__init__()
        self.file = file
        self._url = url
        self._sha256 = hashlib.sha256()
        self._size = 0

    @property
    def part(self) -> Part:
        """What went in so far."""
        return Part(bytes=self._size, sha256=self._sha256.hexdigest())

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any, /) -> int:
        with wrap_storage_errors(self._url, CANNOT_BE_WRITTEN):
            self.file.write(data)
        self._sha256.update(data)
        size = memoryview(data).nbytes
        self._size += size
        return size


class Draft:
    """Files that nobody sees until the with block ends without an error."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._writers: dict[str, HashingWriter] = {}
        self._folders: dict[str, dict[str, Part]] = {}
        self._put_bytes = 0
        self.parts: dict[str, Part] = {}

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self._discard()
            return
        self.parts = {name: writer.part for name, writer in self._writers.items()}
        self.parts |= {name: folder_part(files) for name, files in self._folders.items()}
        try:
            with wrap_storage_errors(self._url, CANNOT_BE_WRITTEN):
                self._publish()
        except BaseException:
            self._discard()
            raise

    def create(self, name: str) -> HashingWriter:
        """A new file."""
        with wrap_storage_errors(f"{self._url}/{name}", CANNOT_BE_WRITTEN):
            self._writers[name] = HashingWriter(f"{self._url}/{name}", self._open(name))
        return self._writers[name]

    def put(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Small files into a folder, which is a part of its own; its name ends with a slash."""
        with wrap_storage_errors(f"{self._url}/{folder}", CANNOT_BE_WRITTEN):
            self._put(folder, files)
        parts = {n: Part(bytes=len(data), sha256=hashlib.sha256(data).hexdigest()) for n, data in files.items()}
        self._folders.setdefault(folder, {}).update(parts)
        self._put_bytes += sum(map(len, files.values()))

    def written(self) -> int:
        """Bytes so far."""
        return self._put_bytes + sum(writer.tell() for writer in self._writers.values())

    def _open(self, name: str) -> BinaryIO:
        raise NotImplementedError

    def _put(self, folder: str, files: Mapping[str, bytes]) -> None:
        raise NotImplementedError

    def _publish(self) -> None:
        raise NotImplementedError

    def _discard(self) -> None:
        raise NotImplementedError


class LocalDraft(Draft):
    """Written to a hidden folder on the same file system, fsynced, renamed.

    Args:
        url: of the target, for messages.
        root: the target's folder.
        name: of the file that the draft is for, so that what a killed writer leaves can be told.
        replaces: whether a file that is there already is replaced; if not, publishing fails.
    """

    def __init__(self, url: str, root: Path, name: str, replaces: bool = True) -> None:
        super().__init__(url)
        self._replaces = replaces
        self._root = root
        # Random: pods that share a volume have the same process ids.
        self._dir = root / DRAFTS_DIR / f"{_flatten(name)}~{secrets.token_hex(8)}"

    def _open(self, name: str) -> BinaryIO:
        path = self._dir / name
        _make_dir(path.parent)
        return path.open("wb")

    def _put(self, folder: str, files: Mapping[str, bytes]) -> None:
        where = self._dir / folder
        if folder not in self._folders:
            _make_dir(where)
        for name, data in files.items():
            # Without pathlib's and buffering's share of a small file's time.
            with open(f"{where}/{name}", "wb", buffering=0) as file:  # noqa: PTH123
                file.write(data)

    def _publish(self) -> None:
        for writer in self._writers.values():
            writer.file.flush()
            os.fsync(writer.file.fileno())
            writer.file.close()
        if self._folders:
            # Once for thousands of small files: an fsync of each takes longer than minting them.
            os.sync()
        for name in self.parts:
            self._rename(name.rstrip("/"))
        self._discard()

    def _rename(self, name: str) -> None:
        final = self._root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.is_dir():
            # Of a shard that was never committed, or was damaged.
            final.rename(self._dir / "replaced")
            shutil.rmtree(self._dir / "replaced")
        if not self._replaces:
            try:
                final.hardlink_to(self._dir / name)
            except OSError:
                # A file system without hard links says so in its own way; there, two writers at once may both succeed.
                if final.exists():
                    raise FileExistsError from None
        (self._dir / name).replace(final)
        sync_folder(final.parent)

    def _discard(self) -> None:
        for writer in self._writers.values():
            # A full disk refuses even the rest of a buffer.
            with contextlib.suppress(OSError):
                writer.file.close()
        shutil.rmtree(self._dir, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._dir.parent.rmdir()


def _make_dir(folder: Path) -> None:
    """A folder of a draft, with its parents; another writer may remove the emptied common one between two of them."""
    for _ in range(MKDIR_TRIES):
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def remove_local(root: Path, names: Iterable[str] | None = None) -> None:
    """Remove what killed writers of these drafts, or of all drafts, left behind in a local target."""
    drafts_dir = root / DRAFTS_DIR
    if not drafts_dir.is_dir():
        return
    prefixes = None if names is None else {_flatten(name) for name in names}
    for draft in drafts_dir.iterdir():
        if prefixes is None or draft.name.partition("~")[0] in prefixes:
            shutil.rmtree(draft, ignore_errors=True)
    with contextlib.suppress(OSError):
        drafts_dir.rmdir()


def _flatten(name: str) -> str:
    """Return a path within the target as one name of a folder."""
    return name.replace("/", "_")


class RemoteDraft(Draft):
    """Streamed to an object store, where a file appears when its upload is completed."""

    def __init__(self, url: str, root: str, fs: Any) -> None:
        super().__init__(url)
        self._root = root
        self._fs = fs

    def _open(self, name: str) -> BinaryIO:
        file: BinaryIO = self._fs.open(f"{self._root}/{name}", "wb", block_size=BLOCK_BYTES)
        return file

    def _put(self, folder: str, files: Mapping[str, bytes]) -> None:
        self._fs.pipe({f"{self._root}/{folder}{name}": data for name, data in files.items()})

    def _publish(self) -> None:
        for writer in self._writers.values():
            writer.file.close()

    def _discard(self) -> None:
        for writer in self._writers.values():
            with contextlib.suppress(Exception):
                writer.file.discard()  # type: ignore[attr-defined]
            # fsspec completes the upload of a file that is garbage-collected open.
            with contextlib.suppress(AttributeError):
                writer.file.closed = True  # type: ignore[misc]
