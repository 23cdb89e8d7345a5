"""What is read of any folder of pictures, and that all the rest is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from models.errors import InputError
from tests.training.data.samples import (
    are_equal,
    flat_folder,
    load_error,
    random_pixels,
    write_image,
    write_mnist,
    write_npz,
    write_zip,
)
from training.commands.train import _print_plan
from training.config_files import load_preset
from training.data.layout import describe_unused
from training.data.loader import load_dataset, load_test_images
from training.data_config import DataConfig
from training.evaluation import data_split


def check(*arguments: Path | str) -> list[str]:
    outcome = CliRunner().invoke(cli, ["data", "check", *map(str, arguments)])
    return [*outcome.output.splitlines(), str(outcome.exception or "")]


def square_classes(folder: Path, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Three images of 28x28 pixels in each folder."""
    for k, name in enumerate(names):
        for i in range(3):
            write_image(folder / name / f"{i}.png", random_pixels(10 * k + i, 28, 28))
    return folder


# What is not used


def test_all_that_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "LICENSE").write_text("CC0")
    (folder / "dataset.json").write_text("[]")
    (folder / ".DS_Store").write_bytes(b"x")
    for k in range(4):
        (folder / f"{k}.txt").write_text("a caption")

    unused = load_dataset(folder).unused

    assert describe_unused(unused) == "1 hidden, 4 .txt, 1 without suffix, dataset.json"
    assert load_dataset(write_zip(folder, tmp_path / "set.zip")).unused == unused


def test_what_is_not_understood_is_never_called_ready(tmp_path: Path) -> None:
    folder = square_classes(tmp_path / "set")
    (folder / "README.md").write_text("harmless")
    lines = check(folder)
    assert "not used: README.md" in lines and lines[-2].startswith("Ready (preset own)")

    (folder / "boxes.json").write_text("{}")
    lines = check(folder)

    assert "not used: README.md, boxes.json" in lines
    assert lines[-2].startswith("If you do not miss boxes.json (preset own): ganmint train")
    assert not any("Ready" in line for line in lines)


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.JPG", "a", "frame.0001"])
def test_images_with_rare_suffixes_and_without_one_are_read(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "a.jpg", np.full((5, 4, 3), 100, np.uint8))
    (tmp_path / "set").mkdir()
    (tmp_path / "a.jpg").rename(tmp_path / "set" / name)

    dataset = load_dataset(tmp_path / "set")

    assert (len(dataset), dataset.unused) == (1, ())


def test_a_folder_of_arrays_names_what_it_does_not_use(tmp_path: Path) -> None:
    write_mnist(tmp_path / "digits")
    write_mnist(tmp_path / "digits", split="t10k")
    (tmp_path / "digits" / "extra-images-idx3-ubyte").write_bytes(b"x")
    archive = write_npz(tmp_path / "set.npz", images=random_pixels(1, 3, 5, 4), attributes=[1, 2, 3])

    assert load_dataset(tmp_path / "digits").unused == ("extra-images-idx3-ubyte",)
    assert load_dataset(archive).unused == ("attributes.npy",)


def test_train_names_what_it_does_not_use(tmp_path: Path) -> None:
    folder = square_classes(tmp_path / "set")
    (folder / "boxes.json").write_text("{}")
    plan: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("click.echo", plan.append)
        _print_plan(load_preset("images28"), load_dataset(folder), 0, "cpu", tmp_path, False)
    assert "# not used: boxes.json" in plan


def test_unlabelled_with_columns_is_refused() -> None:
    with pytest.raises(InputError, match="reads no labels"):
        load_preset("faces-cpu", ("data.unlabelled=true",))


# Folders that are no classes


def stylegan_folder(folder: Path, labels: object) -> Path:
    for k in (0, 999, 1000):
        write_image(folder / f"{k // 1000:05d}" / f"img{k:08d}.png", random_pixels(k, 5, 4, 3))
    if labels != "no file":
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def test_stylegan_labels_are_read_and_its_buckets_are_no_classes(tmp_path: Path) -> None:
    names = ["00000/img00000000.png", "00000/img00000999.png", "00001/img00001000.png"]
    folder = stylegan_folder(tmp_path / "set", [[name, label] for name, label in zip(names, (7, 10, 7))])

    for path in (folder, write_zip(folder, tmp_path / "set.zip")):
        dataset = load_dataset(path)
        assert dataset.class_names == ("7", "10") and dataset.unused == ()
        assert dataset.labels is not None and dataset.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize("labels", [None, "no file"])
def test_buckets_without_labels_are_unlabelled(tmp_path: Path, labels: object) -> None:
    dataset = load_dataset(stylegan_folder(tmp_path / "set", labels))
    assert (len(dataset), dataset.class_names, dataset.unused) == (3, (), ())


def test_buckets_named_by_their_first_image_are_unlabelled(tmp_path: Path) -> None:
    for k in (0, 999, 1000, 69_999):
        write_image(tmp_path / "set" / f"{k // 1000 * 1000:05d}" / f"{k:05d}.png", random_pixels(k, 5, 4, 3))
    assert load_dataset(tmp_path / "set").class_names == ()


def test_class_folders_of_five_digits_stay_classes(tmp_path: Path) -> None:
    square_classes(tmp_path / "set", ("00000", "10115"))
    assert load_dataset(tmp_path / "set").class_names == ("00000", "10115")


@pytest.mark.parametrize("labels", [[["00000/img00000000.png", [0.5, 1]]], {"a": 1}])
def test_stylegan_labels_of_another_kind_are_refused(tmp_path: Path, labels: object) -> None:
    error = load_error(stylegan_folder(tmp_path / "set", labels))
    assert error.path == tmp_path / "set" / "dataset.json"
    assert "[file, class number]" in error.reason


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "val"), ("train", "testing")])
def test_train_is_trained_on_and_the_other_split_is_the_test(tmp_path: Path, train: str, test: str) -> None:
    square_classes(tmp_path / "set" / train, ("a", "b", "c"))
    square_classes(tmp_path / "set" / test, ("a", "c"))

    dataset = load_dataset(tmp_path / "set")
    split = data_split.load(tmp_path / "set", DataConfig(), "test")

    assert are_equal(dataset, load_dataset(tmp_path / "set" / train))
    assert (len(dataset), dataset.unused) == (9, ())
    assert split.part == "test" and len(split.train) == 9
    assert split.test.class_names == ("a", "b", "c")
    assert split.test.labels is not None and split.test.labels.tolist() == [0, 0, 0, 2, 2, 2]


def test_a_third_split_is_named_as_not_used(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        square_classes(tmp_path / "set" / split)
    lines = check(tmp_path / "set")
    assert lines[:2] == [f"{tmp_path / 'set'}: 6 images", "test: 6 images more"]
    assert "not used: 6 images in val/" in lines


def test_a_csv_may_list_the_images_of_both_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        flat_folder(tmp_path / "set" / split, 2)
    rows = [f"{split}/{k}.png,{'ab'[k]}" for split in ("train", "test") for k in range(2)]
    (tmp_path / "set" / "labels.csv").write_text("\n".join(["file,label", *rows]))
    test = load_test_images(tmp_path / "set")
    assert load_dataset(tmp_path / "set").class_names == ("a", "b")
    assert test is not None and test.class_names == ("a", "b")


@pytest.mark.parametrize("names", [("test", "val"), ("train", "training"), ("train", "test", "cat")])
def test_splits_that_are_not_clear_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    error = load_error(square_classes(tmp_path / "set", names))
    assert all(f"{name}/" in error.reason for name in names)


@pytest.mark.parametrize("targets", ["masks", "labels", "Annotations"])
def test_images_beside_masks_are_no_classes(tmp_path: Path, targets: str) -> None:
    folder = square_classes(tmp_path / "set", ("images", targets))
    error = load_error(folder)
    assert error.path == folder
    assert f"images/ and {targets}/" in error.reason and f"--data {folder / 'images'}" in error.reason
    assert len(load_dataset(folder / "images")) == 3


def test_unlabelled_reads_any_folders_and_no_labels(tmp_path: Path) -> None:
    folder = square_classes(tmp_path / "set")
    write_image(folder / "cat" / "white" / "a.png", random_pixels(1, 28, 28))
    (folder / "labels.csv").write_text("file,kind\n")

    dataset = load_dataset(folder, unlabelled=True)

    assert (len(dataset), dataset.class_names, dataset.unused) == (7, (), ("labels.csv",))
    lines = check(folder, "--unlabelled")
    assert "classes: none" in lines and lines[-2].endswith("--set data.unlabelled=true")
    archive = write_npz(tmp_path / "set.npz", images=random_pixels(1, 3, 5, 4), labels=[0, 1, 1])
    assert load_dataset(archive, unlabelled=True).labels is None


def test_data_test_names_the_test_images_of_any_data(tmp_path: Path) -> None:
    train, test = square_classes(tmp_path / "a", ("x", "y", "z")), square_classes(tmp_path / "b", ("z", "x"))

    split = data_split.load(train, DataConfig(test=str(test), holdout=0.1), "test")

    assert split.test.class_names == ("x", "y", "z") and len(split.test) == 6
    square_classes(test, ("w",))
    with pytest.raises(Exception, match="classes that no training image has"):
        data_split.load(train, DataConfig(test=str(test)), "test")


def test_the_classes_are_the_labels_that_occur(tmp_path: Path) -> None:
    images = random_pixels(1, 3, 5, 4)
    numbered = load_dataset(write_npz(tmp_path / "a.npz", images=images, labels=[5, 1, 5]))
    named = load_dataset(write_npz(tmp_path / "b.npz", images=images, labels=[2, 0, 2], label_names=["x", "y", "z"]))

    assert numbered.class_names == ("1", "5") and named.class_names == ("x", "z")
    for dataset in (numbered, named):
        assert dataset.labels is not None and dataset.labels.tolist() == [1, 0, 1]
