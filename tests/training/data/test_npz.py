"""Reading npz files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.samples import (
    class_folder,
    load_error,
    random_pixels,
    write_npz,
)
from training.data.loader import load_dataset


def test_an_npz_is_read(tmp_path: Path) -> None:
    images = random_pixels(1, 3, 5, 4, 3)
    dataset = load_dataset(
        write_npz(tmp_path / "set.npz", images=images, labels=np.array([1, 0, 1], np.uint8), label_names=["a", "b"])
    )
    assert dataset.name == "set.npz"
    assert np.array_equal(dataset.images, images)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.labels.dtype == np.int64
    assert dataset.class_names == ("a", "b")
    assert all(type(name) is str for name in dataset.class_names)


def test_an_npz_may_be_grey_compressed_and_unlabelled(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", images=random_pixels(1, 3, 5, 4))
    dataset = load_dataset(tmp_path / "set.npz")
    assert np.array_equal(dataset.images, random_pixels(1, 3, 5, 4)[..., None])
    assert dataset.labels is None
    assert dataset.class_names == ()


def test_an_npz_without_label_names_names_the_classes_that_occur(tmp_path: Path) -> None:
    dataset = load_dataset(write_npz(tmp_path / "set.npz", images=random_pixels(1, 3, 5, 4), labels=[2, 0, 2]))
    assert dataset.class_names == ("0", "2")


def test_an_npz_and_a_folder_of_equal_content_have_one_digest(tmp_path: Path) -> None:
    folder = load_dataset(class_folder(tmp_path / "set"))
    path = write_npz(tmp_path / "a.npz", images=folder.images, labels=folder.labels, label_names=folder.class_names)
    assert load_dataset(path).digest == folder.digest


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"labels": [1]}, "no 'images' (found labels)"),
        ({"images": np.zeros((3, 5, 4), np.float32)}, "float32 (3, 5, 4)"),
        ({"images": np.zeros((3, 5), np.uint8)}, "uint8 (3, 5)"),
        ({"images": np.zeros((0, 5, 4), np.uint8)}, "(0, 5, 4)"),
        ({"images": np.zeros((3, 5, 4, 2), np.uint8)}, "(3, 5, 4, 2)"),
        ({"images": np.zeros((3, 5, 4), np.uint8), "labels": [0, 1]}, "(2,) for 3 images"),
        ({"images": np.zeros((3, 5, 4), np.uint8), "labels": [0.0, 1.0, 2.0]}, "'labels' of float64"),
        ({"images": np.zeros((3, 5, 4), np.uint8), "labels": [0, 1, -1]}, "label -1 at image 2"),
        ({"images": np.zeros((3, 5, 4), np.uint8), "labels": [0, 70000, 1]}, "label 70000 at image 1"),
        ({"images": np.zeros((2, 5, 4), np.uint8), "labels": [0, 2], "label_names": ["a", "b"]}, "in 0 .. 1"),
        ({"images": np.zeros((2, 5, 4), np.uint8), "labels": [0, 1], "label_names": ["a", "a"]}, "distinct"),
        ({"images": np.zeros((2, 5, 4), np.uint8), "labels": [0, 1], "label_names": [1, 2]}, "texts"),
        ({"images": np.zeros((2, 5, 4), np.uint8), "label_names": ["a"]}, "no 'labels'"),
        ({"images": np.array([{}, {}])}, "pickle"),
    ],
)
def test_unusable_npz_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    error = load_error(write_npz(tmp_path / "set.npz", **arrays))
    assert error.path == tmp_path / "set.npz"
    assert reason in error.reason


@pytest.mark.parametrize(
    ("arrays", "remedy"),
    [
        ({"images": np.zeros((3, 3, 5, 4), np.uint8)}, "images.transpose(0, 2, 3, 1)"),
        ({"images": np.zeros((3, 5, 4), np.float32)}, "(images * 255).round().astype(np.uint8)"),
        ({"images": np.zeros((3, 5, 4), np.int64)}, "images.astype(np.uint8)"),
        ({"images": np.zeros((3, 5, 4), np.uint8), "labels": [[0], [1], [1]]}, "labels.ravel()"),
        ({"images": np.zeros((3, 5, 4), np.uint8), "labels": np.eye(3, dtype=int)}, "labels.argmax(1)"),
        ({"images": np.zeros((3, 5, 4), np.uint8), "labels": [0.0, 1.0, 1.0]}, "labels.astype(int)"),
    ],
)
def test_a_common_npz_mistake_is_refused_with_its_remedy(tmp_path: Path, arrays: dict[str, Any], remedy: str) -> None:
    assert remedy in load_error(write_npz(tmp_path / "set.npz", **arrays)).reason


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    whole = write_npz(tmp_path / "set.npz", images=random_pixels(1, 3, 5, 4)).read_bytes()
    array = io.BytesIO()
    np.save(array, random_pixels(1, 3, 5, 4))
    damaged = bytearray(whole)
    damaged[200] ^= 1
    for content in (b"", b"hello", whole[:-30], whole[: len(whole) // 2], bytes(damaged), array.getvalue()):
        (tmp_path / "set.npz").write_bytes(content)
        assert load_error(tmp_path / "set.npz").path == tmp_path / "set.npz"
