"""Send models of the store to a URL and fetch them from there, in BentoML's export format.

A .bentomodel file is a tar of the model's folder, compressed by xz; `bentoml models import` reads it, too. The URL is
any that fsspec knows. What is fetched passes every check of `models.store.install` before the store shows it.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from models import artifact, store
from models.errors import FileError, GanmintError, InputError, VersionExistsError
from models.files import write_atomically
from models.manifest import MANIFEST_FILE
from models.store import StoredModel

EXTENSION = ".bentomodel"
# Far more than a model has; an archive may be made to fill a disk.
MAX_FILES = 100
MAX_BYTES = 4 << 30


def push(stored: StoredModel, url: str) -> str:
    """Write a model of the store, with its signature, to a URL; equal models give equal bytes.

    Args: url: of a .bentomodel file, or of a folder to put NAME-VERSION.bentomodel into.
    Returns: the file's URL.
    Raises:
        ArtifactError: the model in the store fails its checks.
        VersionExistsError: the URL has another model.
        FileError: the URL cannot be read or written.
    """
    if not url.endswith(EXTENSION):
        url = f"{url.rstrip('/')}/{stored.name}-{stored.version}{EXTENSION}"
    artifact.check_files(stored.path)
    fs, path = _open_url(url)
    with _wrap_errors(url, "cannot be read"):
        is_there = fs.exists(path)
    if is_there:
        with _unpack(url) as folder:
            if artifact.digest(folder) != artifact.digest(stored.path):
                raise VersionExistsError(f"{url} holds another model; a published version never changes")
    data = _pack(stored.path)
    with _wrap_errors(url, "cannot be written"):
        if "file" in fs.protocol:
            write_atomically(Path(path), data)
        else:
            fs.pipe_file(path, data)
    return url


def list_archives(url: str) -> dict[str, str]:
    """List the models at a URL: that file, or every .bentomodel file of a folder.

    Returns: by the file's URL, a text that changes when the file does.
    Raises: FileError when the URL cannot be read, or is a folder without a model.
    """
    fs, path = _open_url(url)
    with _wrap_errors(url, "cannot be read"):
        fs.invalidate_cache()
        if url.endswith(EXTENSION):
            return {url: str(fs.info(path))}
        entries = sorted(fs.ls(path, detail=True), key=lambda entry: str(entry["name"]))
    entries = [entry for entry in entries if entry["name"].endswith(EXTENSION)]
    if not entries:
        raise FileError(url, f"has no {EXTENSION} file")
    return {f"{url.rstrip('/')}/{PurePosixPath(entry['name']).name}": str(entry) for entry in entries}


def pull(url: str) -> StoredModel:
    """Fetch a model that `push` or `bentoml models export` wrote, check it, and install it.

    Raises: FileError when the URL has no such file; as `models.store.install`. The store is then as before.
    """
    with _unpack(url) as folder:
        try:
            return store.install(folder)
        except FileError as error:
            # The folder is gone when the message is read.
            if Path(error.path).is_relative_to(folder):
                file = str(Path(error.path).relative_to(folder))
                raise type(error)(url, error.reason if file == "." else f"{file} {error.reason}") from None
            raise


def _pack(folder: Path) -> bytes:
    paths = {path.name: path for path in folder.iterdir() if path.is_file()}
    if state := store.find_training_state(folder):
        paths[artifact.TRAINING_STATE] = state
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, path in sorted(paths.items()):
            # No time and no owner, so that the bytes depend on the model alone.
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return buffer.getvalue()


@contextlib.contextmanager
def _unpack(url: str) -> Iterator[Path]:
    """Fetch an archive and yield a temporary folder with its files."""
    fs, path = _open_url(url)
    with tempfile.TemporaryDirectory(prefix="ganmint-pull-") as name:
        folder = Path(name)
        with (
            _wrap_errors(url, "cannot be read"),
            fs.open(path, "rb") as file,
            tarfile.open(fileobj=file, mode="r|xz") as archive,
        ):
            _extract(archive, url, folder)
        if not (folder / MANIFEST_FILE).is_file():
            raise FileError(url, f"is no exported model: it has no {MANIFEST_FILE}")
        yield folder


def _extract(archive: tarfile.TarFile, url: str, folder: Path) -> None:
    """Write the archive's files, which must be plain ones in one folder."""
    num_files = num_bytes = 0
    for entry in archive:
        entry_path = PurePosixPath(entry.name)
        if entry.isdir() and entry_path in (PurePosixPath("."), PurePosixPath("/")):
            continue
        content = archive.extractfile(entry) if entry.isfile() else None
        if content is None or len(entry_path.parts) != 1 or entry_path.name == "..":
            raise FileError(url, f"is no exported model: {entry.name!r} in it is not a plain file in one folder")
        num_files += 1
        num_bytes += entry.size
        if num_files > MAX_FILES or num_bytes > MAX_BYTES:
            raise FileError(url, f"is no exported model: it has more than {MAX_FILES} files or {MAX_BYTES} bytes")
        (folder / entry_path.name).write_bytes(content.read())


def _open_url(url: str) -> tuple[Any, str]:
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise InputError(f"{url.partition(':')[0]}:// needs another package ({error})", "URL") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{url!r} is no URL that fsspec knows: {error}", "URL") from None
    return fs, path


@contextlib.contextmanager
def _wrap_errors(url: str, what: str) -> Iterator[None]:
    try:
        yield
    except GanmintError:
        raise
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise FileError(url, f"is no exported model: {error or 'it is cut short'}") from None
    # Plug-ins raise what their own libraries raise; there is no common base.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileError(url, f"{what}: {reason or type(error).__name__}") from error
