"""Loading any kind of data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.samples import (
    are_equal,
    class_folder,
    flat_folder,
    load_error,
    write_mnist,
    write_zip,
)
from training.data import allocation
from training.data.loader import load_dataset


@pytest.mark.parametrize("name", ["nothing", "nothing.zip", "nothing.npz", "train-images-idx3-ubyte.gz"])
def test_a_missing_path_is_named(tmp_path: Path, name: str) -> None:
    error = load_error(tmp_path / name)
    assert error.path == tmp_path / name
    assert error.reason == "does not exist"


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.rar").write_bytes(b"x")
    error = load_error(tmp_path / "set.rar")
    assert error.path == tmp_path / "set.rar"
    assert ".zip" in error.reason
    assert ".npz" in error.reason


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = class_folder(tmp_path / "set")
    scandir = os.scandir

    def locked(path: str) -> Any:
        if Path(path) == folder / "cat":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # A changed mode would not stop root, under whom tests run in containers.
    monkeypatch.setattr(os, "scandir", locked)
    error = load_error(folder)
    assert error.path == folder / "cat"
    assert "Permission denied" in error.reason


def test_the_current_folder_as_a_set_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flat_folder(tmp_path / "set"))
    assert load_dataset(Path()).name == "set"


@pytest.mark.parametrize("kind", ["set", "set.zip", "mnist"])
def test_large_sets_are_mapped_from_an_unlinked_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    write_zip(class_folder(tmp_path / "set"), tmp_path / "set.zip")
    write_mnist(tmp_path / "mnist")
    in_memory = load_dataset(tmp_path / kind)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(allocation, "MAPPED_ABOVE_BYTES", 0)
    mapped = load_dataset(tmp_path / kind)
    assert not isinstance(in_memory.images, np.memmap)
    assert isinstance(mapped.images, np.memmap) or isinstance(mapped.images.base, np.memmap)
    assert not list((tmp_path / "temporary").iterdir())
    assert are_equal(mapped, in_memory)
    assert np.array_equal(mapped.batch(np.array([2, 0]))[0], in_memory.batch(np.array([2, 0]))[0])
    # A part of a mapped set is mapped, too, however small it is.
    monkeypatch.undo()
    part = mapped.take(np.array([0, 2]))
    assert isinstance(part.images, np.memmap) == isinstance(mapped.images, np.memmap)
    assert np.array_equal(part.images, in_memory.images[[0, 2]])


def test_a_full_disk_is_refused_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(allocation, "MAPPED_ABOVE_BYTES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    error = load_error(flat_folder(tmp_path / "set"))
    assert error.path == tmp_path / "set"
    assert "TMPDIR" in error.reason
