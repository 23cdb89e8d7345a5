"""Reading IDX files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.data.samples import (
    are_equal,
    idx_bytes,
    load_error,
    random_pixels,
    write_mnist,
)
from training.data.loader import load_dataset


@pytest.mark.parametrize("packed", [False, True])
def test_an_mnist_folder_gives_its_training_split(tmp_path: Path, packed: bool) -> None:
    write_mnist(tmp_path / "digits", packed=packed)
    write_mnist(tmp_path / "digits", count=3, split="t10k", packed=packed)
    dataset = load_dataset(tmp_path / "digits")
    assert dataset.name == "digits"
    assert np.array_equal(dataset.images, random_pixels(1, 6, 5, 4)[..., None])
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.labels.dtype == np.int64
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.shape == (1, 5, 4)


def test_idx_images_are_read_with_the_labels_beside_them(tmp_path: Path) -> None:
    train, _ = write_mnist(tmp_path)
    test, _ = write_mnist(tmp_path, count=3, split="t10k", packed=False)
    assert are_equal(load_dataset(train), load_dataset(tmp_path))
    assert len(load_dataset(test)) == 3


def test_idx_images_and_labels_may_differ_in_compression(tmp_path: Path) -> None:
    images, labels = write_mnist(tmp_path)
    whole = load_dataset(images)
    labels.with_suffix("").write_bytes(gzip.decompress(labels.read_bytes()))
    labels.unlink()
    assert are_equal(load_dataset(images), whole)


def test_a_missing_labels_file_is_named(tmp_path: Path) -> None:
    images, labels = write_mnist(tmp_path)
    labels.unlink()
    for path in (images, tmp_path):
        error = load_error(path)
        assert error.path == labels.with_suffix("")
        assert "train-labels-idx1-ubyte.gz" in error.reason


def test_an_mnist_folder_without_training_images_names_the_missing_file(tmp_path: Path) -> None:
    write_mnist(tmp_path, split="t10k")
    assert load_error(tmp_path).path == tmp_path / "train-images-idx3-ubyte"


def test_a_labels_file_given_as_images_is_refused(tmp_path: Path) -> None:
    _, labels = write_mnist(tmp_path)
    error = load_error(labels)
    assert error.path == labels
    assert "give the file of images" in error.reason


def test_a_wrong_number_of_labels_names_the_labels_file(tmp_path: Path) -> None:
    images, labels = write_mnist(tmp_path)
    labels.write_bytes(gzip.compress(idx_bytes(np.zeros(5, np.uint8))))
    error = load_error(images)
    assert error.path == labels
    assert "(5,)" in error.reason
    assert "6 images" in error.reason


@pytest.mark.parametrize("array", [np.zeros((0, 5, 4), np.uint8), np.zeros((6, 20), np.uint8)])
def test_idx_without_images_is_refused(tmp_path: Path, array: NDArray[np.uint8]) -> None:
    images, labels = write_mnist(tmp_path, packed=False)
    images.write_bytes(idx_bytes(array))
    labels.write_bytes(idx_bytes(np.zeros(len(array), np.uint8)))
    error = load_error(images)
    assert error.path == images
    assert str(array.shape) in error.reason


@pytest.mark.parametrize("cut", [5, 30, -9, -1])
def test_a_truncated_gzip_file_is_named(tmp_path: Path, cut: int) -> None:
    images, _ = write_mnist(tmp_path)
    images.write_bytes(images.read_bytes()[:cut])
    assert load_error(tmp_path).path == images


def test_a_gzip_file_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    images, _ = write_mnist(tmp_path)
    content = bytearray(images.read_bytes())
    content[-8] ^= 1
    images.write_bytes(content)
    error = load_error(tmp_path)
    assert error.path == images
    assert "CRC" in error.reason


def test_a_gzip_file_with_broken_compression_is_named(tmp_path: Path) -> None:
    images, _ = write_mnist(tmp_path)
    images.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 50)
    error = load_error(tmp_path)
    assert error.path == images
    assert "damaged gzip" in error.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01....", "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "inside its header"),
        (idx_bytes(random_pixels(1, 6, 5, 4))[:-1], "truncated"),
        (idx_bytes(random_pixels(1, 6, 5, 4)) + b"\0", "too long"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated"),
    ],
)
def test_idx_bytes_that_do_not_match_the_header_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    images, _ = write_mnist(tmp_path, packed=False)
    images.write_bytes(content)
    error = load_error(tmp_path)
    assert error.path == images
    assert reason in error.reason


def test_truncated_idx_inside_whole_gzip_is_refused(tmp_path: Path) -> None:
    images, _ = write_mnist(tmp_path)
    images.write_bytes(gzip.compress(idx_bytes(random_pixels(1, 6, 5, 4))[:-1]))
    error = load_error(tmp_path)
    assert error.path == images
    assert "119 bytes" in error.reason
