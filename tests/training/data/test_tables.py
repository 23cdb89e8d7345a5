"""Labels from tables: their dialects, Hugging Face's metadata, and names as people and systems write them."""

from __future__ import annotations

import json
import os
import unicodedata
import zipfile
from pathlib import Path

import pytest

from models.errors import DataError
from tests.training.data.samples import (
    are_equal,
    class_folder,
    flat_folder,
    load_error,
    random_pixels,
    write_image,
    write_zip,
)
from training.data.labels import LabelColumn
from training.data.loader import load_dataset
from training.data.tables import read_table

PLAIN = "file,label\n0.png,b\n1.png,ä\n2.png,b\n3.png,b\n"


def labelled(folder: Path, table: str | bytes, name: str = "labels.csv") -> Path:
    flat_folder(folder)
    (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
    return folder


@pytest.mark.parametrize(
    "table",
    [
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", "\t").encode("utf-16-le"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("cp1252"),
        "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
        PLAIN.replace("file,label", "File,LABEL"),
        PLAIN + ",\n\n , \n",
        PLAIN.replace("\n", ",,\n"),
        PLAIN.replace("0.png", "./0.png").replace("1.png", ".\\1.png"),
    ],
)
def test_the_dialects_of_csv_say_the_same(tmp_path: Path, table: str | bytes) -> None:
    dataset = load_dataset(labelled(tmp_path / "set", table))
    assert dataset.class_names == ("b", "ä") and dataset.unused == ()
    assert are_equal(dataset, load_dataset(labelled(tmp_path / "plain", PLAIN)))


def test_a_backslash_separates_folders_in_a_csv(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file;label\ncat\\1.png;x\ncat\\2.png;y\ndog\\0.png;x\n.\\emu\\3.png;x\n")
    assert load_dataset(folder).class_names == ("x", "y")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("file,label,label\n0.png,a,b\n", "column 'label' 2 times"),
        ("file,Label,LABEL\n0.png,a,b\n", "column 'label' 2 times"),
        ("file,label\n0.png,Doe, John\n", "3 values on line 2 for 2 columns"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, table: str, reason: str) -> None:
    error = load_error(labelled(tmp_path / "set", table))
    assert error.path == tmp_path / "set" / "labels.csv"
    assert reason in error.reason


def test_a_heading_that_nobody_asks_for_may_stand_twice(tmp_path: Path) -> None:
    table = "file,note,label,note\n0.png,,a,\n1.png,,a,\n2.png,,b,\n3.png,,b,\n"
    assert load_dataset(labelled(tmp_path / "set", table)).class_names == ("a", "b")


def test_lines_are_numbered_as_an_editor_does() -> None:
    table = read_table(Path("a.csv"), b'file,label\n\n0.png,"a\nb"\n,\n1.png,c\n')
    assert [row.line for row in table.rows] == [4, 6]


# Hugging Face's metadata


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_gives_the_labels(tmp_path: Path, name: str) -> None:
    rows = [{"file_name": f"{k}.png", "label": k % 2, "hair": "red"} for k in range(4)]
    csv = "file_name,label,hair\n" + "".join(f"{k}.png,{k % 2},red\n" for k in range(4))
    table = "\n".join(map(json.dumps, rows)) if name.endswith("jsonl") else csv
    folder = labelled(tmp_path / "set", table, name)

    for path in (folder, write_zip(folder, tmp_path / "set.zip"), write_zip(folder, tmp_path / "b.zip", below="a/")):
        dataset = load_dataset(path)
        assert dataset.class_names == ("0", "1") and dataset.unused == ()
        assert dataset.labels is not None and dataset.labels.tolist() == [0, 1, 0, 1]
        assert load_dataset(path, (LabelColumn(column="hair"),)).class_names == ("red",)


def test_metadata_without_a_label_is_named_as_not_used(tmp_path: Path) -> None:
    dataset = load_dataset(labelled(tmp_path / "set", '{"file_name": "0.png", "text": "a dog"}\n', "metadata.jsonl"))
    assert dataset.class_names == () and dataset.unused == ("metadata.jsonl",)


def test_metadata_in_each_folder_is_read(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        flat_folder(tmp_path / "set" / split, count)
        rows = "".join(f"{k}.png,{'ab'[k % 2]}\n" for k in range(count))
        (tmp_path / "set" / split / "metadata.csv").write_text("file_name,label\n" + rows)
    dataset = load_dataset(tmp_path / "set")
    assert dataset.class_names == ("a", "b") and dataset.unused == ()
    assert dataset.labels is not None and dataset.labels.tolist() == [0, 1, 0]


def test_class_folders_that_agree_with_the_metadata_name_the_classes(tmp_path: Path) -> None:
    """So a folder that was read before its metadata was understood keeps its classes."""
    folder = class_folder(tmp_path / "set")
    before = load_dataset(folder)
    rows = "".join(f"{name},{label}\n" for name, label in (("dog/0.png", 7), ("cat/1.png", 1), ("cat/2.png", 1)))
    (folder / "metadata.csv").write_text(f"file_name,label\n{rows}emu/3.png,3\n")
    assert are_equal(load_dataset(folder), before)
    (folder / "metadata.csv").write_text(f"file_name,label\n{rows}emu/3.png,7\n")
    assert load_dataset(folder).class_names == ("1", "7")


def test_another_csv_is_used_if_it_has_the_chosen_column_and_else_named(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set", PLAIN.replace("label", "hair").replace("file", "filename"), "attributes.csv")
    (folder / "boxes.csv").write_text("x;y\n1;2\n")

    assert load_dataset(folder).unused == ("attributes.csv", "boxes.csv")
    chosen = load_dataset(folder, (LabelColumn(column="Hair"),))
    assert chosen.class_names == ("b", "ä") and chosen.unused == ("boxes.csv",)

    (folder / "more.csv").write_text(PLAIN.replace("label", "hair"))
    with pytest.raises(DataError, match=r"'hair' in attributes\.csv and more\.csv"):
        load_dataset(folder, (LabelColumn(column="hair"),))


# Names


def test_a_zip_from_windows_may_have_backslashes(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, str(file.relative_to(folder)).replace("/", "\\"))
    assert are_equal(load_dataset(tmp_path / "set.zip"), load_dataset(folder))


def test_a_zip_with_utf8_names_that_does_not_say_so_is_read(tmp_path: Path) -> None:
    for name in ("bär", "kuh"):
        write_image(tmp_path / "set" / name / "a.png", random_pixels(len(name), 5, 4))
    archive = write_zip(tmp_path / "set", tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + flags + 1] &= 0xF7
            start = content.find(mark, start + 1)
    archive.write_bytes(content)

    assert load_dataset(archive).class_names == ("bär", "kuh")


def test_accents_of_one_and_of_two_characters_are_the_same_name(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_image(folder / f"{unicodedata.normalize('NFD', 'é')}.png", random_pixels(1, 5, 4))
    (folder / "labels.csv").write_text(f"file,label\n{unicodedata.normalize('NFC', 'é')}.png,x\n")
    assert load_dataset(folder).class_names == ("x",)


def test_folders_named_in_latin_1_have_names_that_can_be_published(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "set") + b"\xe9"
    Path(os.fsdecode(folder + b"/b\xe4r")).mkdir(parents=True)
    write_image(tmp_path / "a.png", random_pixels(1, 5, 4)).rename(os.fsdecode(folder + b"/b\xe4r/\xfc.png"))
    write_image(Path(os.fsdecode(folder)) / "kuh" / "a.png", random_pixels(2, 5, 4))

    dataset = load_dataset(Path(os.fsdecode(folder)))

    assert (dataset.name, dataset.class_names) == ("seté", ("bär", "kuh"))
    assert dataset.name.encode() and len(dataset) == 2
