"""The folder that an export is written to, at any fsspec URL. Every error names the URL."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import fsspec

from models.errors import ExportError, InputError
from models.files import VOLUME_FOLDER
from service.export import drafts
from service.export.drafts import PRIVATE, Draft, LocalDraft, RemoteDraft
from service.export.parts import Part, folder_part
from service.export.storage_errors import CANNOT_BE_WRITTEN, wrap_storage_errors


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
            with LocalDraft(self.url, Path(self._root), name, replaces=False) as draft:
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
            return LocalDraft(self.url, Path(self._root), name)
        return RemoteDraft(self.url, self._root, self._fs)

    def remove_drafts(self, names: Iterable[str] | None = None) -> None:
        """Remove what killed writers of these drafts, or of all drafts, left behind."""
        if self.local:
            with wrap_storage_errors(self.url, "cannot be tidied"):
                drafts.remove_local(Path(self._root), names)

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
