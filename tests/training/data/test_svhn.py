"""SVHN's MATLAB files give what the same pictures in a folder give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import DataError
from tests.training.data.samples import Made, load_error, write_zip
from training.data.loader import load_dataset, load_test_images

scipy_io = pytest.importorskip("scipy.io")
DIGITS = "0123456789"


def write_mat(path: Path, made: Made, **others: Any) -> Path:
    """Write pictures as SVHN does: the last axis counts them, and 10 is the digit 0."""
    path.parent.mkdir(exist_ok=True)
    labels = np.where(made.numbers == 0, 10, made.numbers).astype(np.uint8)[:, None]
    arrays = {"X": made.images.transpose(1, 2, 3, 0), "y": labels, **others}
    scipy_io.savemat(path, arrays, do_compression=True)
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "file"])
def test_its_digits_give_what_their_pictures_give(tmp_path: Path, kind: str) -> None:
    made, test = Made(1, 200, 32, DIGITS), Made(2, 20, 32, DIGITS)
    path = write_mat(tmp_path / "set" / "train_32x32.mat", made)
    write_mat(tmp_path / "set" / "test_32x32.mat", test)
    (tmp_path / "set" / "extra_32x32.mat").write_bytes(b"x")
    path = {"folder": path.parent, "file": path, "zip": tmp_path / "set.zip"}[kind]
    if kind == "zip":
        write_zip(tmp_path / "set", path)

    dataset, test_images = load_dataset(path), load_test_images(path)

    assert dataset.class_names == tuple(DIGITS)
    assert dataset.digest == made.folder_digest(tmp_path / "pictures")
    if kind == "file":
        assert test_images is None and dataset.unused == ()
        return
    assert test_images is not None
    assert test_images.digest == test.folder_digest(tmp_path / "test")
    assert dataset.unused == ("extra_32x32.mat",)


def test_its_digits_are_read_without_labels(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "train_32x32.mat", Made(1, 20, 32, DIGITS))

    assert load_dataset(path, unlabelled=True).class_names == ()


@pytest.mark.parametrize(
    "others",
    [
        {"y": np.zeros((20, 1), np.uint8)},
        {"y": np.full((20, 1), 11, np.uint8)},
        {"y": np.ones((19, 1), np.uint8)},
        {"y": "digits"},
        {"X": np.zeros((32, 32, 3, 20))},
        {"X": np.zeros((32, 32, 20), np.uint8)},
        {"X": np.zeros((28, 28, 3, 20), np.uint8)},
    ],
)
def test_another_matlab_file_is_refused_with_a_remedy(tmp_path: Path, others: dict[str, Any]) -> None:
    path = write_mat(tmp_path / "train_32x32.mat", Made(1, 20, 32, DIGITS), **others)

    error = load_error(path)

    assert error.path == path
    assert "has no X of 32x32 RGB images with a y from 1 to 10" in error.reason and "save an npz" in error.reason


def test_a_matlab_file_without_its_arrays_is_refused(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "any.mat", {"pictures": np.zeros(3)})

    assert "has no X" in load_error(tmp_path / "any.mat").reason


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write_mat(tmp_path / "set" / "train_32x32.mat", Made(1, 20, 32, DIGITS))
    content = path.read_bytes()

    for damaged in (b"", b"MATLAB 5.0", content[:200], content[:-500], content[:400] + bytes(100) + content[500:]):
        path.write_bytes(damaged)
        error = load_error(path.parent)
        assert error.path == path
        assert "is not a readable MATLAB file" in error.reason and "fetch it again" in error.reason


def test_scipy_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mat(tmp_path / "train_32x32.mat", Made(1, 20, 32, DIGITS))
    monkeypatch.setitem(sys.modules, "scipy.io", None)

    with pytest.raises(DataError, match=r"needs scipy: pip install '\.\[mat\]'"):
        load_dataset(path)
