"""Write the files of an export to any fsspec URL.

The files of a draft are written unseen and published together: on a local file system they are written to a hidden
folder, fsynced and renamed; on an object store each appears with one PUT or one multipart completion. Every error names
the URL.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import fsspec

from models.base import Record
from models.errors import ExportError, GanmintError, InputError
from models.files import VOLUME_FOLDER, sync_folder

# Hidden: the Hugging Face loaders and most others pass over it.
PRIVATE = ".ganmint"
DRAFTS_DIR = f"{PRIVATE}/aside"
# What an object store's upload keeps in memory; S3 takes up to 10,000 such parts.
BLOCK_BYTES = 16 << 20


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


CANNOT_BE_WRITTEN = "cannot be written"
MKDIR_TRIES = 20


@contextlib.contextmanager
def wrap_storage_errors(url: str, what: str) -> Iterator[None]:
    """Turn any failure of a file system, a store or its plug-in into an ExportError in words."""
    try:
        yield
    except GanmintError:
        raise
    # Plug-ins raise what their own libraries raise; there is no common base.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        advice = ""
        if what == CANNOT_BE_WRITTEN:
            is_gone = isinstance(error, FileNotFoundError)
            advice = "; choose another --out" + (", or end another export that is writing here" if is_gone else "")
        raise ExportError(url, f"{what}: {reason or type(error).__name__}{advice}") from error


class Target:
    """A folder at a URL. Cheap to make again in another process."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or url
        try:
            # A listing must show what another process has just written.
            self._fs, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            scheme = url.partition(":")[0]
            extra = "'.[s3]' (in the checkout)" if scheme == "s3" else "its fsspec plug-in"
            raise InputError(f"{scheme}:// needs another package: pip install {extra} ({error})", "--out") from None
        except (ValueError, TypeError) as error:
            raise InputError(f"{url!r} is no URL that fsspec knows: {error}", "--out") from None
        self._root: str = root.rstrip("/")
        self.local = "file" in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)
        if self.local:
            self._refuse_files()

    def _refuse_files(self) -> None:
        root = Path(self._root)
        if root.is_file():
            raise ExportError(self.url, "is a file, not a folder")
        for parent in root.parents:
            if parent.is_file():
                raise ExportError(self.url, f"cannot be written: {parent} is a file; choose another --out")

    @property
    def absolute_url(self) -> str:
        """The URL, or for a local folder its absolute path."""
        return self._root if self.local else self.url

    def url_of(self, name: str) -> str:
        """The URL of a file in the folder, for messages."""
        return f"{self.url}/{name}"

    def exists_with_files(self) -> bool:
        """Whether anything but this project's own folder, and what a volume has from the start, is there."""
        with wrap_storage_errors(self.url, "cannot be listed"):
            if not self._fs.exists(self._root):
                return False
            names = {Path(path).name for path in self._fs.ls(self._root, detail=False)}
        return bool(names - {PRIVATE, VOLUME_FOLDER})

    def list(self, folder: str) -> dict[str, int]:
        """The files right in a folder, by name within it, with their sizes; empty when there is none."""
        with wrap_storage_errors(self.url_of(folder), "cannot be listed"):
            try:
                found = self._fs.ls(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        return {Path(f["name"]).name: int(f["size"] or 0) for f in found if f["type"] == "file"}

    def read(self, name: str) -> bytes | None:
        """A small file; None when there is none."""
        with wrap_storage_errors(self.url_of(name), "cannot be read"):
            try:
                data: bytes = self._fs.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return data

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Small files, fetched together."""
        names = list(names)
        if not names:
            return {}
        with wrap_storage_errors(self.url, "cannot be read"):
            # Not `cat`, which takes a path with brackets or stars for a pattern.
            found = self._fs.cat_ranges([self._path(name) for name in names], None, None, on_error="raise")
        return dict(zip(names, found))

    def open(self, name: str) -> BinaryIO:
        """A file for reading."""
        with wrap_storage_errors(self.url_of(name), "cannot be read"):
            file: BinaryIO = self._fs.open(self._path(name), "rb")
        return file

    def write(self, name: str, data: bytes) -> Part:
        """A small file, whole or not at all."""
        with self.draft(name) as draft:
            draft.create(name).write(data)
        return draft.parts[name]

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless it is there already; return whether it was written.

        At once on a local file system, and on object stores that know conditional writes (S3). On others, two
        writers at the same moment may both succeed.
        """
        if self.local:
            return self._create_local(name, data)
        with wrap_storage_errors(self.url_of(name), CANNOT_BE_WRITTEN):
            if self._fs.exists(self._path(name)):
                return False
            try:
                self._fs.pipe_file(self._path(name), data, mode="create")
            # What a store's plug-in raises for a failed condition differs; that the file is there says it.
            except Exception:
                if self._fs.exists(self._path(name)):
                    return False
                self._fs.pipe_file(self._path(name), data)
        return True

    def _create_local(self, name: str, data: bytes) -> bool:
        try:
            with _LocalDraft(self.url, Path(self._root), _make_draft_name(name), replaces=False) as draft:
                draft.create(name).write(data)
        except ExportError as error:
            if isinstance(error.__cause__, FileExistsError):
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with wrap_storage_errors(self.url_of(name), "cannot be removed"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def draft(self, name: str) -> Draft:
        """A place for files that are published together at the end of a with block, or not at all."""
        if self.local:
            return _LocalDraft(self.url, Path(self._root), _make_draft_name(name))
        return _RemoteDraft(self.url, self._root, self._fs)

    def remove_drafts(self, names: Iterable[str] | None = None) -> None:
        """Remove what killed writers of these drafts, or of all drafts, left behind."""
        drafts_dir = Path(self._root) / DRAFTS_DIR
        if not self.local or not drafts_dir.is_dir():
            return
        prefixes = None if names is None else {name.replace("/", "_") for name in names}
        with wrap_storage_errors(self.url, "cannot be tidied"):
            for draft in drafts_dir.iterdir():
                if prefixes is None or draft.name.partition("~")[0] in prefixes:
                    shutil.rmtree(draft, ignore_errors=True)
            with contextlib.suppress(OSError):
                drafts_dir.rmdir()

    def measure(self, name: str) -> tuple[int, int]:
        """Files and bytes of a part as it is now, without reading it; (0, 0) when it is missing."""
        if name.endswith("/"):
            sizes = self.list(name.rstrip("/"))
            return len(sizes), sum(sizes.values())
        with wrap_storage_errors(self.url_of(name), "cannot be looked at"):
            try:
                return 1, int(self._fs.size(self._path(name)))
            except FileNotFoundError:
                return 0, 0

    def digest(self, name: str) -> Part | None:
        """A part as it is now, read again from beginning to end; None when it is missing."""
        if name.endswith("/"):
            inside = self.list(name.rstrip("/"))
            parts = {n: part for n in inside if (part := self.digest(name + n))}
            return folder_part(parts) if parts else None
        sha256, size = hashlib.sha256(), 0
        with wrap_storage_errors(self.url_of(name), "cannot be read"):
            try:
                with self._fs.open(self._path(name), "rb") as file:
                    while chunk := file.read(1 << 20):
                        sha256.update(chunk)
                        size += len(chunk)
            except FileNotFoundError:
                return None
        return Part(bytes=size, sha256=sha256.hexdigest())

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _make_draft_name(name: str) -> str:
    # Random: pods that share a volume have the same process ids.
    return f"{name.replace('/', '_')}~{secrets.token_hex(8)}"


def folder_part(files: Mapping[str, Part]) -> Part:
    """A folder's part from those of its files."""
    lines = "".join(f"{files[name].sha256}  {name}\n" for name in sorted(files))
    return Part(
        files=len(files),
        bytes=sum(part.bytes for part in files.values()),
        sha256=hashlib.sha256(lines.encode()).hexdigest(),
    )


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


class _LocalDraft(Draft):
    """Written to a hidden folder on the same file system, fsynced, renamed.

    Args: replaces: whether a file that is there already is replaced; if not, publishing fails.
    """

    def __init__(self, url: str, root: Path, name: str, replaces: bool = True) -> None:
        super().__init__(url)
        self._replaces = replaces
        self._root = root
        self._dir = root / DRAFTS_DIR / name

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


class _RemoteDraft(Draft):
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
