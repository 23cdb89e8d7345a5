"""Labels from chosen csv columns: their names, their order, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import DataError
from training import configured_data
from training.config_files import load_preset
from training.data.labels import FILE_HEADINGS, LabelColumn, LabelFactor, derive_class_names, find_factors
from training.data.loader import load_dataset
from training.data_config import DataConfig

REPOSITORY = Path(__file__).resolve().parents[3]

SEX = LabelColumn(column="sex", names={"F": "female", "M": "male"})
AGE = LabelColumn(column="age", names={"20-29": "young", "30-39": "young", "60+": "old"})
TABLE = "file,age,sex\n0.png,60+,M\n1.png,20-29,M\n2.png,30-39,F\n3.png,60+,F\n4.png,30-39,M\n"


def write_images(folder: Path, table: str | None = TABLE, count: int = 5) -> Path:
    folder.mkdir()
    for k in range(count):
        Image.fromarray(np.full((4, 4), k, np.uint8)).save(folder / f"{k}.png")
    if table is not None:
        (folder / "labels.csv").write_text(table)
    return folder


def load_error(path: Path, *columns: LabelColumn) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(path, columns)
    return caught.value


def test_columns_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    dataset = load_dataset(write_images(tmp_path / "set"), (SEX, AGE))

    assert dataset.class_names == ("female young", "female old", "male young", "male old")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [3, 2, 0, 1, 2]


def test_the_first_column_sorts_first(tmp_path: Path) -> None:
    dataset = load_dataset(write_images(tmp_path / "set"), (AGE, SEX))

    assert dataset.class_names == ("young female", "young male", "old female", "old male")


def test_a_column_without_names_keeps_its_values(tmp_path: Path) -> None:
    dataset = load_dataset(write_images(tmp_path / "set"), (LabelColumn(column="age"), SEX))

    assert dataset.class_names == ("20-29 male", "30-39 female", "30-39 male", "60+ female", "60+ male")


def test_integers_of_a_column_sort_by_value() -> None:
    column = LabelColumn(column="age")

    rows = [("10",), ("9",), ("10",)]
    assert derive_class_names(find_factors((column,), rows), rows) == ("9", "10")


def test_a_combination_without_images_is_no_class(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", "file,age,sex\n0.png,60+,M\n1.png,20-29,F\n", count=2)

    assert load_dataset(folder, (SEX, AGE)).class_names == ("female young", "male old")


def test_independent_labels_have_a_class_for_every_combination(tmp_path: Path) -> None:
    config = DataConfig.model_validate({"label_columns": (SEX, AGE), "independent_labels": True})
    folder = write_images(tmp_path / "set", "file,age,sex\n0.png,60+,M\n1.png,20-29,F\n2.png,30-39,F\n", count=3)

    dataset = configured_data.load(folder, config)

    assert dataset.factors == (LabelFactor("sex", ("female", "male")), LabelFactor("age", ("young", "old")))
    assert dataset.class_names == ("female young", "female old", "male young", "male old")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [3, 0, 0]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,a,b\n0.png,x y,z\n1.png,x,y z\n", "two combinations of labels with one name"),
        ("file,a,b\n" + "".join(f"{k}.png,{k},{k}\n" for k in range(65)), "4,225 combinations.*at most 4,096"),
    ],
)
def test_combinations_of_labels_that_cannot_be_classes_are_refused(tmp_path: Path, table: str, words: str) -> None:
    columns = [{"column": "a"}, {"column": "b"}]
    config = DataConfig.model_validate({"label_columns": columns, "independent_labels": True})
    folder = write_images(tmp_path / "set", table, count=table.count(".png"))

    with pytest.raises(DataError, match=words):
        configured_data.load(folder, config)


def test_one_column_is_no_independent_labels() -> None:
    with pytest.raises(ValueError, match=r"needs two or more data\.label_columns"):
        DataConfig.model_validate({"label_columns": [{"column": "a"}], "independent_labels": True})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,sex\n0.png,F\n", ["'file', 'sex'", "it needs 'file' and 'sex' and 'age'"]),
        ("file,age,sex\n0.png,60+,M\n1.png,10-19,M\n", ["age '10-19' on line 3", "'20-29', '30-39', '60+'"]),
        ("file,age,sex\n0.png,,M\n", ["no age on line 2"]),
        ("file,age,sex\n0.png,60+\n", ["no sex on line 2"]),
    ],
)
def test_a_csv_that_does_not_fit_the_columns_is_refused(tmp_path: Path, table: str, words: list[str]) -> None:
    folder = write_images(tmp_path / "set", table)

    error = load_error(folder, SEX, AGE)

    assert error.path == folder / "labels.csv"
    assert all(word in error.reason for word in words), error


def test_columns_without_a_csv_are_refused_with_a_remedy(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", None)

    error = load_error(folder, SEX, AGE)

    assert error.path == folder
    assert "'sex', 'age'" in error.reason and "set.csv" in error.reason and "data.label_columns=[]" in error.reason


def test_columns_for_an_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 4, 4), np.uint8))

    error = load_error(tmp_path / "set.npz", SEX)

    assert error.path == tmp_path / "set.npz"
    assert "'sex'" in error.reason and "data.label_columns=[]" in error.reason


@pytest.mark.parametrize("preset", ["faces", "faces-cpu"])
def test_the_faces_presets_name_six_classes_in_a_readable_order(preset: str) -> None:
    columns = load_preset(preset).data.label_columns

    rows = [(sex, age) for age in dict.fromkeys(columns[1].names.values()) for sex in columns[0].names.values()]

    assert [column.column for column in columns] == ["gender", "age"]
    assert derive_class_names(find_factors(columns, rows), rows) == (
        "female 20-39",
        "female 40-59",
        "female 60+",
        "male 20-39",
        "male 40-59",
        "male 60+",
    )


def test_the_documentation_lists_the_headings_of_file_names() -> None:
    first, *others = FILE_HEADINGS
    listed = ", ".join(f"`{heading}`" for heading in others)

    assert f"columns `{first}` (or {listed}: " in (REPOSITORY / "docs" / "training.md").read_text()
