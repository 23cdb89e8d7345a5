"""A file is whole or not there, whatever goes wrong while it is written."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from models.files import sha256, sync_folder, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(*_: object, **__: object) -> NoReturn:
    raise OSError(28, "No space left on device")


def test_it_writes_new_files_and_makes_their_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


def test_it_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"a longer old content")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failure_leaves_the_old_content_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_failure_leaves_nothing_where_nothing_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"new")
    assert names(tmp_path) == []


def test_the_content_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the file, rename, fsync of the folder."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def seen_fsync(descriptor: int) -> None:
        steps.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")
        fsync(descriptor)

    def seen_replace(self: Path, target: Path) -> Path:
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    folder = tmp_path / "folder"
    write_atomically(folder / "file", b"new")
    assert steps == ["fsync file", "replace", "fsync folder"]


def test_writers_in_two_containers_with_the_same_process_id_are_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary_files: list[Path] = []
    replace = Path.replace

    def seen_replace(self: Path, target: Path) -> Path:
        temporary_files.append(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", seen_replace)
    for _ in range(2):
        write_atomically(tmp_path / "file", b"new")
    assert len(set(temporary_files)) == 2


def test_sync_folder_leaves_no_open_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    really_open = os.open

    def seen_open(path: Path, flags: int) -> int:
        opened.append(really_open(path, flags))
        return opened[-1]

    monkeypatch.setattr(os, "open", seen_open)
    sync_folder(tmp_path)
    assert len(opened) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


@pytest.mark.parametrize("size", [0, 3, 1 << 20, (1 << 20) + 1])
def test_sha256_covers_every_byte(tmp_path: Path, size: int) -> None:
    data = bytes(k % 251 for k in range(size))
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()
