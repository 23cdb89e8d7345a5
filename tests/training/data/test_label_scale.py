"""A column of numbers as a continuous label: a class for each value of an even scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganmint.cli import cli
from models.errors import DataError
from training import configured_data
from training.data.dataset import Dataset
from training.data.label_scale import LabelScale
from training.data.split import count_parts
from training.data_config import DataConfig


def write_images(folder: Path, ages: list[str]) -> Path:
    folder.mkdir()
    for k in range(len(ages)):
        Image.fromarray(np.full((4, 4), k, np.uint8)).save(folder / f"{k}.png")
    (folder / "labels.csv").write_text("file,age\n" + "".join(f"{k}.png,{age}\n" for k, age in enumerate(ages)))
    return folder


def load(folder: Path, **settings: object) -> Dataset:
    return configured_data.load(folder, DataConfig.model_validate({"continuous_label": "age", **settings}))


def test_a_value_is_the_class_of_the_nearest_value_on_the_scale(tmp_path: Path) -> None:
    dataset = load(write_images(tmp_path / "set", ["20", "9.5", "-1e1", "+3", "3.0"]), continuous_steps=3)

    assert dataset.class_names == ("-10", "0", "10", "20")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [3, 2, 0, 1, 1]
    assert dataset.label_values == {"age": dataset.class_names}


@pytest.mark.parametrize(
    ("scale", "names"),
    [
        (LabelScale(18.0, 92.0, 100), ("18", "18.74", "19.48", "91.26", "92")),
        (LabelScale(0.123456, 1.0, 3), ("0.123456", "0.416", "0.708", "0.708", "1")),
        (LabelScale(1e6, 1e6 + 1, 100), ("1000000", "1000000.01", "1000000.02", "1000000.99", "1000001")),
        (LabelScale(0.0, 0.01, 4), ("0", "0.0025", "0.005", "0.0075", "0.01")),
        # Its second value is computed as a negative number that rounds to -0.
        (LabelScale(-0.7, 1.4, 3), ("-0.7", "0", "0.7", "0.7", "1.4")),
    ],
)
def test_values_are_named_by_as_many_digits_as_tell_them(scale: LabelScale, names: tuple[str, ...]) -> None:
    assert (*scale.names[:3], *scale.names[-2:]) == names
    assert len(set(scale.names)) == scale.steps + 1
    assert LabelScale.of(scale.names) == scale


@pytest.mark.parametrize(
    ("ages", "words"),
    [
        (["30", "old"], "has the age 'old', which is no number, so it cannot be data.continuous_label"),
        (["30", "inf"], "has the age 'inf', which is no number"),
        (["30", "30"], "has one age only, 30; a continuous label needs two"),
    ],
)
def test_labels_that_make_no_scale_are_refused(tmp_path: Path, ages: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(write_images(tmp_path / "set", ages))


def test_test_images_are_put_on_the_scale_of_the_training_images(tmp_path: Path) -> None:
    path = write_images(tmp_path / "set", ["10", "20"])
    test_path = write_images(tmp_path / "test", ["14", "25", "3"])
    config = DataConfig.model_validate({"continuous_label": "age", "continuous_steps": 10, "test": str(test_path)})
    training = configured_data.load(path, config)

    test = configured_data.load_test(path, config, training)

    assert test is not None and test.labels is not None
    assert test.class_names == training.class_names
    assert test.labels.tolist() == [4, 10, 0]


def test_a_tenth_of_the_images_is_held_out_however_few_have_each_value(tmp_path: Path) -> None:
    dataset = load(write_images(tmp_path / "set", [str(age) for age in range(40)]))

    assert count_parts(dataset.groups, holdout=0.1, validation=0.25) == (27, 9, 4)


def test_prepared_images_keep_their_values(tmp_path: Path) -> None:
    source = write_images(tmp_path / "set", ["30.5", "20", "9"])
    options = ("--label", "age", "--size", "16")
    outcome = CliRunner().invoke(cli, ["data", "prepare", str(source), str(tmp_path / "prepared"), *options])
    assert outcome.exit_code == 0, outcome.output

    prepared = load(tmp_path / "prepared", continuous_label="label_name")

    assert prepared.digest == load(source, size=16).digest


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_columns": [{"column": "a"}]}, r"is the only label; give data\.label_columns=\[\] with it"),
        ({"unlabelled": True}, r"is the only label; give data\.unlabelled=false with it"),
        (
            {"label_columns": [{"column": "a"}, {"column": "b"}], "independent_labels": True},
            r"give data\.label_columns=\[\] and data\.independent_labels=false with it",
        ),
        ({"continuous_label": "", "continuous_steps": 10}, r"data\.continuous_steps is of a data\.continuous_label"),
    ],
)
def test_settings_that_contradict_it_or_change_nothing_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DataConfig.model_validate({"continuous_label": "age", **settings})
