"""Inspecting data before training: every damaged image is reported, not only the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganmint.cli import cli
from models.errors import DataError, InputError
from training.commands import data
from training.config_files import find_preset, load_preset
from training.data.dataset import Dataset
from training.data.inspection import DatasetReport, inspect_dataset
from training.data.labels import LabelColumn
from training.own_preset import SIDES
from training.runs.loop import check_shape


def write_image(path: Path, seed: int, side: int = 28, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(path)
    return path


def class_folder(folder: Path) -> Path:
    for k, name in enumerate(("cat", "cat", "dog", "emu", "emu", "emu")):
        write_image(folder / name / f"{k}.png", k)
    return folder


class CommandResult(NamedTuple):
    code: int
    lines: list[str]
    error: str


@pytest.fixture
def check() -> Callable[..., CommandResult]:
    """Run `ganmint data check`."""

    def run(*arguments: Path | str) -> CommandResult:
        outcome = CliRunner().invoke(cli, ["data", "check", *map(str, arguments)])
        return CommandResult(outcome.exit_code, outcome.output.splitlines(), str(outcome.exception or ""))

    return run


def test_sizes_and_classes_are_counted(tmp_path: Path) -> None:
    report, _ = inspect_dataset(class_folder(tmp_path / "set"))

    assert report.num_images == 6
    assert report.sizes == {(28, 28, 1): 6}
    assert report.classes == {"cat": 2, "dog": 1, "emu": 3}
    assert report.shape == (1, 28, 28)
    assert (report.unreadable, report.duplicates, report.obstacles) == ([], [], [])


def test_every_damaged_image_is_named(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    bad = [folder / "cat" / "0.png", folder / "emu" / "5.png"]
    bad[0].write_bytes(b"no picture")
    bad[1].write_bytes(bad[1].read_bytes()[:-200])

    report, _ = inspect_dataset(folder)

    assert [error.path for error in report.unreadable] == bad
    assert report.num_images == 6 and sum(report.sizes.values()) == 4
    assert "2 of 6 images cannot be read" in report.obstacles[0]


def test_images_with_equal_pixels_are_duplicates(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    Image.open(folder / "cat" / "1.png").save(folder / "dog" / "copy.bmp")
    (folder / "emu" / "again.png").write_bytes((folder / "cat" / "1.png").read_bytes())

    report, _ = inspect_dataset(folder)

    assert report.duplicates == [["cat/1.png", "dog/copy.bmp", "emu/again.png"]]
    assert report.obstacles == []


def test_several_sizes_are_an_obstacle(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    write_image(folder / "dog" / "large.png", 9, side=32)

    report, _ = inspect_dataset(folder)

    assert report.sizes == {(28, 28, 1): 6, (32, 32, 1): 1}
    assert report.shape is None
    assert "different sizes" in report.obstacles[0]


def test_one_rgb_image_makes_the_set_rgb(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    write_image(folder / "dog" / "red.png", 9, channels=3)

    report, _ = inspect_dataset(folder)

    assert report.shape == (3, 28, 28)
    assert report.obstacles == []


def test_unreadable_labels_do_not_hide_the_rest(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,kind\ncat/0.png,tabby\n")

    report, _ = inspect_dataset(folder)

    assert report.labels_error is not None and report.labels_error.path == folder / "labels.csv"
    assert sum(report.sizes.values()) == 6


def test_chosen_columns_make_the_class_folder(tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / "set" / f"{k}.png", k)
    (tmp_path / "set.csv").write_text("file,kind,age\n0.png,cat,old\n1.png,dog,new\n2.png,cat,new\n")

    report, _ = inspect_dataset(tmp_path / "set", (LabelColumn(column="kind"), LabelColumn(column="age")))

    assert report.classes == {"cat new": 1, "cat old": 1, "dog new": 1}


def test_arrays_are_inspected_like_files(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (5, 28, 28, 3)).astype(np.uint8)
    pixels[4] = pixels[1]
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.array([0, 1, 1, 0, 0]))

    report, sheet = inspect_dataset(tmp_path / "set.npz")

    assert report.sizes == {(28, 28, 3): 5}
    assert report.classes == {"0": 3, "1": 2}
    assert report.duplicates == [["image 1", "image 4"]]
    assert sheet is not None
    # Three rows of two classes; the sheet is black where a class has no more images.
    assert sheet.shape == (3 * 28, 2 * 28, 3)
    assert np.array_equal(sheet[:28, 28:], pixels[1]) and not sheet[56:, 28:].any()


def test_unlabelled_images_fill_the_sheet_in_order(tmp_path: Path) -> None:
    for k in range(12):
        write_image(tmp_path / "set" / f"{k:02d}.png", k, side=4)

    _, sheet = inspect_dataset(tmp_path / "set")

    assert sheet is not None and sheet.shape == (8, 40, 1)


def test_a_path_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    for path in (tmp_path / "nosuch", tmp_path / "empty"):
        with pytest.raises(DataError) as caught:
            inspect_dataset(path)
        assert caught.value.path == path


def test_the_command_reports_and_suggests_a_training(
    tmp_path: Path, check: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = class_folder(tmp_path / "set")

    result = check(folder, "--sheet", tmp_path / "sheet.png")

    assert result.code == 0
    assert result.lines[:5] == [
        f"{folder}: 6 images",
        "size: 28x28 grey, 6 images",
        "classes: 3 (cat 2, dog 1, emu 3)",
        "unreadable: none",
        "duplicates: none",
    ]
    assert result.lines[6].startswith("Small data set (under 5,000 images)")
    ready = f"Ready (preset own): ganmint train --data {folder} --out runs/mine"
    assert result.lines[-1] == ready
    monkeypatch.setattr(data, "SMALL_DATA", 6)
    assert check(folder).lines[6:] == [ready]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 28, 3 * 28)
        # Real images are not marked as synthetic.
        assert "XML:com.adobe.xmp" not in sheet.info


def test_parts_are_counted_class_by_class_as_training_keeps_them(
    tmp_path: Path, check: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.RandomState(0).randint(0, 256, (1200, 16, 16, 1)).astype(np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(1200) % 300)
    helps = "need at least 100 images of each: --set data.holdout=0.2 --set data.validation=0.2"

    for small in (5000, 1000):
        monkeypatch.setattr(data, "SMALL_DATA", small)
        (said,) = [line for line in check(tmp_path / "set.npz").lines if line.startswith("To measure quality by: ")]
        assert said.endswith(helps)
    arguments = ["train", "--data", str(tmp_path / "set.npz"), "--out", str(tmp_path / "run"), "--dry-run"]
    planned = CliRunner().invoke(cli, arguments).output
    assert "# parts: 1200 images to train on, 0 to choose by, 0 to test with;" in planned and helps in planned


def test_the_values_of_a_continuous_label_are_one_group() -> None:
    report = DatasetReport(num_images=3, classes={"20": 1, "30": 2})

    assert report.groups.tolist() == [0, 1, 1]
    assert dataclasses.replace(report, continuous_label="age").groups.tolist() == [0, 0, 0]
    assert DatasetReport(num_images=3).groups.tolist() == [0, 0, 0]


def test_the_command_fails_if_training_would(tmp_path: Path, check: Callable[..., CommandResult]) -> None:
    folder = class_folder(tmp_path / "set")
    (folder / "cat" / "0.png").write_bytes(b"no picture")

    result = check(folder)

    assert result.code == 1
    assert "unreadable: 1" in result.lines and f"  {folder / 'cat' / '0.png'}: cannot be read" in "\n".join(
        result.lines
    )
    assert result.error.startswith(f"{folder} cannot be trained on yet: 1 of 6 images cannot be read")


def test_a_size_without_a_preset_is_reported(tmp_path: Path, check: Callable[..., CommandResult]) -> None:
    write_image(tmp_path / "set" / "a.png", 0, side=30)

    result = check(tmp_path / "set")

    assert result.code == 0
    assert "no preset fits: its images are 30x30" in result.lines[-1]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_classes", [0, 4])
def test_the_preset_for_a_shape_fits(side: int, channels: int, num_classes: int) -> None:
    names = tuple("abcd"[:num_classes])
    images = np.zeros((4, side, side, channels), np.uint8)
    dataset = Dataset("own", images, np.arange(4) if num_classes else None, names)

    check_shape(load_preset(find_preset(dataset.shape), (), dataset.shape), dataset)


@pytest.mark.parametrize("shape", [(1, 28, 30), (3, 30, 30), (1, 1, 1), (3, 8, 8), (3, 512, 512), (3, 64, 320)])
def test_other_shapes_have_no_preset(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match=r"takes sides of 16, 20, 24, 28, 32, 40, 48, .* 256 pixels") as caught:
        find_preset(shape)

    assert caught.value.field == "--data"
