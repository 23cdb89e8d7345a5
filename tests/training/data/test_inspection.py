"""Looking at data before training: every bad picture is found, not only the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganmint import cli
from models.errors import DataError, InputError
from training.commands import data
from training.config import PRESET_BY_SIDE, load_preset, preset_for
from training.data.dataset import Dataset
from training.data.inspection import inspect_dataset
from training.data.labels import LabelColumn
from training.runs.loop import check_fits


def picture(path: Path, seed: int, side: int = 28, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(path)
    return path


def classes(folder: Path) -> Path:
    for k, name in enumerate(("cat", "cat", "dog", "emu", "emu", "emu")):
        picture(folder / name / f"{k}.png", k)
    return folder


class Answer(NamedTuple):
    code: int
    lines: list[str]
    error: str


@pytest.fixture
def checked() -> Callable[..., Answer]:
    """`data check`, as it is run."""

    def run(*arguments: Path | str) -> Answer:
        result = CliRunner().invoke(cli, ["data", "check", *map(str, arguments)])
        return Answer(result.exit_code, result.output.splitlines(), str(result.exception or ""))

    return run


def test_sizes_and_classes_are_counted(tmp_path: Path) -> None:
    found, _ = inspect_dataset(classes(tmp_path / "set"))

    assert found.pictures == 6
    assert found.sizes == {(28, 28, 1): 6}
    assert found.classes == {"cat": 2, "dog": 1, "emu": 3}
    assert found.shape == (1, 28, 28)
    assert (found.unreadable, found.duplicates, found.obstacles) == ([], [], [])


def test_every_damaged_picture_is_named(tmp_path: Path) -> None:
    folder = classes(tmp_path / "set")
    bad = [folder / "cat" / "0.png", folder / "emu" / "5.png"]
    bad[0].write_bytes(b"no picture")
    bad[1].write_bytes(bad[1].read_bytes()[:-200])

    found, _ = inspect_dataset(folder)

    assert [error.path for error in found.unreadable] == bad
    assert found.pictures == 6 and sum(found.sizes.values()) == 4
    assert "2 of 6 cannot be read" in found.obstacles[0]


def test_pictures_with_equal_pixels_are_found_whatever_their_files(tmp_path: Path) -> None:
    folder = classes(tmp_path / "set")
    Image.open(folder / "cat" / "1.png").save(folder / "dog" / "copy.bmp")
    (folder / "emu" / "again.png").write_bytes((folder / "cat" / "1.png").read_bytes())

    found, _ = inspect_dataset(folder)

    assert found.duplicates == [["cat/1.png", "dog/copy.bmp", "emu/again.png"]]
    assert found.obstacles == []


def test_several_sizes_keep_a_training_from_starting(tmp_path: Path) -> None:
    folder = classes(tmp_path / "set")
    picture(folder / "dog" / "large.png", 9, side=32)

    found, _ = inspect_dataset(folder)

    assert found.sizes == {(28, 28, 1): 6, (32, 32, 1): 1}
    assert found.shape is None
    assert "not all are of one size" in found.obstacles[0]


def test_one_picture_in_colour_makes_a_set_in_colour(tmp_path: Path) -> None:
    folder = classes(tmp_path / "set")
    picture(folder / "dog" / "red.png", 9, channels=3)

    found, _ = inspect_dataset(folder)

    assert found.shape == (3, 28, 28)
    assert found.obstacles == []


def test_labels_that_cannot_be_read_do_not_hide_the_rest(tmp_path: Path) -> None:
    folder = classes(tmp_path / "set")
    (folder / "labels.csv").write_text("file,kind\ncat/0.png,tabby\n")

    found, _ = inspect_dataset(folder)

    assert found.labels_error is not None and found.labels_error.path == folder / "labels.csv"
    assert sum(found.sizes.values()) == 6


def test_chosen_columns_make_the_classes(tmp_path: Path) -> None:
    for k in range(3):
        picture(tmp_path / "set" / f"{k}.png", k)
    (tmp_path / "set.csv").write_text("file,kind,age\n0.png,cat,old\n1.png,dog,new\n2.png,cat,new\n")

    found, _ = inspect_dataset(tmp_path / "set", (LabelColumn(column="kind"), LabelColumn(column="age")))

    assert found.classes == {"cat new": 1, "cat old": 1, "dog new": 1}


def test_arrays_are_surveyed_like_files(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (5, 28, 28, 3)).astype(np.uint8)
    pixels[4] = pixels[1]
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.array([0, 1, 1, 0, 0]))

    found, sheet = inspect_dataset(tmp_path / "set.npz")

    assert found.sizes == {(28, 28, 3): 5}
    assert found.classes == {"0": 3, "1": 2}
    assert found.duplicates == [["image 1", "image 4"]]
    assert sheet is not None
    # Three rows of two classes; where a class has no more, the sheet is black.
    assert sheet.shape == (3 * 28, 2 * 28, 3)
    assert np.array_equal(sheet[:28, 28:], pixels[1]) and not sheet[56:, 28:].any()


def test_unlabelled_pictures_fill_the_sheet_in_their_order(tmp_path: Path) -> None:
    for k in range(12):
        picture(tmp_path / "set" / f"{k:02d}.png", k, side=4)

    _, sheet = inspect_dataset(tmp_path / "set")

    assert sheet is not None and sheet.shape == (8, 40, 1)


def test_what_is_no_data_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    for path in (tmp_path / "nosuch", tmp_path / "empty"):
        with pytest.raises(DataError) as caught:
            inspect_dataset(path)
        assert caught.value.path == path


def test_the_command_tells_all_and_how_to_go_on(
    tmp_path: Path, checked: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = classes(tmp_path / "set")

    answer = checked(folder, "--sheet", tmp_path / "sheet.png")

    assert answer.code == 0
    assert answer.lines[:5] == [
        f"{folder}: 6 pictures",
        "size: 28x28 grey, 6 pictures",
        "classes: 3 (cat 2, dog 1, emu 3)",
        "unreadable: none",
        "duplicates: none",
    ]
    assert answer.lines[6].startswith("Few pictures: below some 5,000 ")
    ready = f"Ready (preset images28): ganmint train --data {folder} --out runs/mine"
    assert answer.lines[-1] == f"{ready} --set 'augment={{}}'"
    monkeypatch.setattr(data, "FEW", 6)
    assert checked(folder).lines[5:] == [ready]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 28, 3 * 28)
        # Real pictures are not marked as synthetic.
        assert "XML:com.adobe.xmp" not in sheet.info


def test_the_command_fails_where_training_would(tmp_path: Path, checked: Callable[..., Answer]) -> None:
    folder = classes(tmp_path / "set")
    (folder / "cat" / "0.png").write_bytes(b"no picture")

    answer = checked(folder)

    assert answer.code == 1
    assert "unreadable: 1" in answer.lines and f"  {folder / 'cat' / '0.png'}: cannot be read" in "\n".join(
        answer.lines
    )
    assert answer.error.startswith(f"{folder} cannot be trained on yet: 1 of 6 cannot be read")


def test_pictures_without_a_preset_of_their_size_are_told_so(tmp_path: Path, checked: Callable[..., Answer]) -> None:
    picture(tmp_path / "set" / "a.png", 0, side=30)

    answer = checked(tmp_path / "set")

    assert answer.code == 0
    assert "no preset fits by itself: its images are 30x30" in answer.lines[-1]


@pytest.mark.parametrize("side", PRESET_BY_SIDE)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels", [0, 4])
def test_the_preset_chosen_by_shape_fits(side: int, channels: int, labels: int) -> None:
    names = tuple("abcd"[:labels])
    images = np.zeros((4, side, side, channels), np.uint8)
    dataset = Dataset("own", images, np.arange(4) if labels else None, names)

    check_fits(load_preset(preset_for(dataset.shape)), dataset)


@pytest.mark.parametrize("shape", [(1, 28, 32), (3, 30, 30), (1, 1, 1)])
def test_other_shapes_have_no_preset(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="presets for squares of 28, 32, 64") as caught:
        preset_for(shape)

    assert caught.value.field == "--data"
