"""Reading folders and zips of images: their labels, files and pixels."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
from training.data.loader import load_dataset

# Labels


def test_class_folders_give_labels_in_name_order(tmp_path: Path) -> None:
    dataset = load_dataset(class_folder(tmp_path / "animals"))
    assert dataset.name == "animals"
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1, 2]
    assert np.array_equal(dataset.images, np.stack([random_pixels(k, 5, 4, 3) for k in (1, 2, 0, 3)]))


def test_class_folders_named_by_integers_sort_by_value(tmp_path: Path) -> None:
    for name in ("10", "9", "-1"):
        write_image(tmp_path / "set" / name / "a.png", random_pixels(int(name) + 1, 2, 2))
    assert load_dataset(tmp_path / "set").class_names == ("-1", "9", "10")


def test_images_without_folders_or_csv_are_unlabelled(tmp_path: Path) -> None:
    dataset = load_dataset(flat_folder(tmp_path / "set"))
    assert dataset.labels is None
    assert dataset.class_names == ()
    assert np.array_equal(dataset.images, np.stack([random_pixels(k, 5, 4, 3) for k in range(4)]))
    assert dataset.batch(np.array([1]))[1].tolist() == [0]


def test_a_csv_inside_gives_the_labels(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,age,label\n3.png,1,old\n1.png,2,new\n0.png,3,old\n2.png,4,mid\n")
    for dataset in (load_dataset(folder), load_dataset(write_zip(folder, tmp_path / "set.zip"))):
        assert dataset.class_names == ("mid", "new", "old")
        assert dataset.labels is not None
        assert dataset.labels.tolist() == [2, 1, 0, 2]


def test_a_csv_beside_a_zip_or_folder_gives_the_labels(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "v1.faces")
    archive = write_zip(folder, tmp_path / "v1.faces.zip")
    assert load_dataset(folder).labels is None
    (tmp_path / "v1.faces.csv").write_text("file,label\n0.png,b\n1.png,a\n2.png,b\n3.png,b\n")
    assert are_equal(load_dataset(folder), load_dataset(archive))
    dataset = load_dataset(archive)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 1, 1]


def test_integer_labels_of_a_csv_sort_by_value(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,label\n0.png,10\n1.png,9\n2.png,10\n3.png,100\n")
    dataset = load_dataset(folder)
    assert dataset.class_names == ("9", "10", "100")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 1, 2]


def test_labels_of_mixed_kind_sort_as_text(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,label\n0.png,10\n1.png,9\n2.png,x\n3.png,9\n")
    assert load_dataset(folder).class_names == ("10", "9", "x")


def test_a_csv_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_bytes('\ufefffile, label\r\n"0.png", "é, big"\r\n1.png,b \r\n'.encode())
    assert load_dataset(folder).class_names == ("b", "é, big")


def test_a_csv_may_name_images_in_sub_folders(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,label\ncat/1.png,x\ncat/2.png,y\ndog/0.png,x\nemu/3.png,x\n")
    dataset = load_dataset(folder)
    assert dataset.class_names == ("x", "y")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("table", "reasons"),
    [
        ("file,age,sex\n0.png,1,f\n1.png,2,m\n", ["'file', 'age', 'sex'", "'label'", "data.unlabelled=true"]),
        ("name,label\n0.png,1\n1.png,2\n", ["'name', 'label'"]),
        ("", ["empty"]),
        ("file,label\n0.png,a\n1.png\n", ["line 3"]),
        ("file,label\n0.png,\n1.png,b\n", ["line 2"]),
        ("file,label\n0.png,a\n1.png,b\n0.png,a\n", ["again", "line 4"]),
        ('file,label\n0.png,"a\n', ["not a csv"]),
        (b"file,label\n0.png,\x81\n", ["UTF-8"]),
    ],
)
def test_a_csv_without_usable_labels_is_refused(tmp_path: Path, table: str | bytes, reasons: list[str]) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    for path in (folder, write_zip(folder, tmp_path / "packed.zip")):
        error = load_error(path)
        assert error.path == path / "labels.csv"
        assert all(reason in error.reason for reason in reasons), error


def test_an_error_in_a_csv_beside_names_that_csv(tmp_path: Path) -> None:
    archive = write_zip(flat_folder(tmp_path / "set", 2), tmp_path / "faces.zip")
    (tmp_path / "faces.csv").write_text("file,age\n0.png,1\n1.png,2\n")
    assert load_error(archive).path == tmp_path / "faces.csv"


def test_a_listed_but_missing_image_is_named(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_text("file,label\n0.png,a\n7.png,a\n1.png,b\n")
    for path in (folder, write_zip(folder, tmp_path / "set.zip")):
        error = load_error(path)
        assert error.path == path / "7.png"
        assert "line 3" in error.reason


def test_an_image_without_a_csv_row_is_named(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 3)
    (folder / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n")
    for path in (folder, write_zip(folder, tmp_path / "set.zip")):
        error = load_error(path)
        assert error.path == path / "2.png"
        assert "no row in labels.csv" in error.reason


# Folders and zips


@pytest.mark.parametrize("build", [flat_folder, class_folder])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_folder_and_its_zip_are_equal(tmp_path: Path, build: Any, method: int) -> None:
    folder = build(tmp_path / "set")
    assert are_equal(load_dataset(folder), load_dataset(write_zip(folder, tmp_path / "other.zip", method)))


@pytest.mark.parametrize("build", [flat_folder, class_folder])
def test_a_single_folder_around_everything_is_entered(tmp_path: Path, build: Any) -> None:
    folder = build(tmp_path / "set")
    archive = write_zip(folder, tmp_path / "other.zip", below="a/b/")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("README.txt", "not a picture")
    assert are_equal(load_dataset(folder), load_dataset(archive))


def test_a_csv_inside_a_wrapping_folder_is_read(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n")
    assert are_equal(load_dataset(folder), load_dataset(write_zip(folder, tmp_path / "other.zip", below="set/")))


def test_a_zip_leaves_nothing_on_disk(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    archive = write_zip(class_folder(tmp_path / "set"), tmp_path / "in" / "set.zip")
    before = sorted(tmp_path.rglob("*"))
    load_dataset(archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    plain = load_dataset(folder)
    for name in ("README.md", ".hidden.png", "._0.png", ".git/a.png", "__MACOSX/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no picture")
    assert are_equal(load_dataset(folder), plain)


def test_linked_class_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    real = class_folder(tmp_path / "set")
    (tmp_path / "links").mkdir()
    for name in ("cat", "dog", "emu"):
        (tmp_path / "links" / name).symlink_to(real / name)
    (real / "cat" / "loop").symlink_to(real)
    assert are_equal(load_dataset(tmp_path / "links"), load_dataset(real))


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".webp", ".jpg", ".jpeg"])
def test_each_format_is_read(tmp_path: Path, suffix: str) -> None:
    array = np.full((5, 4, 3), 100, np.uint8)
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    write_image(tmp_path / "set" / f"a{suffix}", array, **options)
    dataset = load_dataset(tmp_path / "set")
    assert dataset.images.shape == (1, 5, 4, 3)
    assert np.array_equal(dataset.images[0], array)


@pytest.mark.parametrize("suffix", [".gif", ".tiff"])
def test_other_image_formats_are_refused(tmp_path: Path, suffix: str) -> None:
    folder = flat_folder(tmp_path / "set")
    other = write_image(folder / f"x{suffix}", random_pixels(1, 5, 4, 3))
    error = load_error(folder)
    assert error.path == other
    assert "convert" in error.reason


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    stray = write_image(folder / "zebra.png", random_pixels(1, 5, 4, 3))
    error = load_error(folder)
    assert error.path == stray
    assert "class folders" in error.reason


def test_folders_inside_class_folders_are_refused(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    deep = write_image(folder / "cat" / "white" / "a.png", random_pixels(1, 5, 4, 3))
    error = load_error(folder)
    assert error.path == deep
    assert "too deep" in error.reason


@pytest.mark.parametrize("name", ["folder", "archive.zip"])
def test_a_set_without_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    (tmp_path / "folder" / "notes.txt").write_text("no picture")
    write_zip(tmp_path / "folder", tmp_path / "archive.zip")
    error = load_error(tmp_path / name)
    assert error.path == tmp_path / name
    assert "holds no images" in error.reason


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    whole = write_zip(flat_folder(tmp_path / "set"), tmp_path / "set.zip").read_bytes()
    for content in (b"", b"hello", whole[:-30]):
        (tmp_path / "bad.zip").write_bytes(content)
        error = load_error(tmp_path / "bad.zip")
        assert error.path == tmp_path / "bad.zip"
        assert "not a complete zip" in error.reason


def test_a_zip_member_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_image(folder / "a.bmp", random_pixels(1, 9, 9, 3))
    archive = write_zip(folder, tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content)
    error = load_error(archive)
    assert error.path == archive / "a.bmp"
    assert "CRC" in error.reason


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    archive = write_zip(flat_folder(tmp_path / "set"), tmp_path / "set.zip")
    with zipfile.ZipFile(archive, "a") as more:
        more.write(tmp_path / "set" / "1.png", "1.png")
    error = load_error(archive)
    assert error.path == archive / "1.png"
    assert "twice" in error.reason


def test_an_encrypted_zip_names_the_member(tmp_path: Path) -> None:
    archive = write_zip(flat_folder(tmp_path / "set", 1), tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    error = load_error(archive)
    assert error.path == archive / "0.png"
    assert "encrypted" in error.reason


# Pixels


def test_grey_files_make_a_grey_set(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 5, 4))
    write_image(tmp_path / "set" / "b.png", np.stack([random_pixels(2, 5, 4), np.full((5, 4), 255, np.uint8)], axis=-1))
    write_image(tmp_path / "set" / "c.png", random_pixels(3, 5, 4) > 127)
    dataset = load_dataset(tmp_path / "set")
    assert dataset.shape == (1, 5, 4)
    assert np.array_equal(dataset.images[0, ..., 0], random_pixels(1, 5, 4))
    assert np.array_equal(dataset.images[1, ..., 0], random_pixels(2, 5, 4))
    assert np.array_equal(dataset.images[2, ..., 0], np.where(random_pixels(3, 5, 4) > 127, 255, 0))


def test_one_file_in_colour_makes_the_set_rgb(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 5, 4))
    write_image(tmp_path / "set" / "b.png", random_pixels(2, 5, 4, 3))
    dataset = load_dataset(tmp_path / "set")
    assert np.array_equal(
        dataset.images, np.stack([np.repeat(random_pixels(1, 5, 4)[..., None], 3, 2), random_pixels(2, 5, 4, 3)])
    )


def test_palettes_become_rgb(tmp_path: Path) -> None:
    array = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    path = write_image(tmp_path / "set" / "a.png", array, "P")
    with Image.open(path) as image:
        assert image.mode == "P"
    assert np.array_equal(load_dataset(tmp_path / "set").images[0], array)


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    array = random_pixels(1, 5, 4, 4)
    array[..., 3] = 255
    write_image(tmp_path / "set" / "a.png", array)
    assert np.array_equal(load_dataset(tmp_path / "set").images[0], array[..., :3])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparent_pixels_are_refused(tmp_path: Path, mode: str) -> None:
    array = np.full((5, 4, 4), 255, np.uint8)
    array[2, 2] = 0
    options = {"transparency": {"L": 0, "RGB": (0, 0, 0)}[mode]} if mode in ("L", "RGB") else {}
    path = write_image(tmp_path / "set" / "a.png", array, mode, **options)
    error = load_error(tmp_path / "set")
    assert error.path == path
    assert "transparent" in error.reason


def test_16_bit_grey_and_cmyk_are_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "deep" / "a.png", np.full((5, 4), 1000, np.uint16))
    assert load_error(tmp_path / "deep").path == path
    path = write_image(tmp_path / "print" / "a.jpg", random_pixels(1, 5, 4, 3), "CMYK")
    error = load_error(tmp_path / "print")
    assert error.path == path
    assert "CMYK" in error.reason
    assert "convert" in error.reason


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(random_pixels(k, 5, 4, 3)) for k in range(2)]
    (tmp_path / "set").mkdir()
    frames[0].save(tmp_path / "set" / "a.webp", save_all=True, append_images=frames[1:])
    error = load_error(tmp_path / "set")
    assert error.path == tmp_path / "set" / "a.webp"
    assert "2 frames" in error.reason


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 5, 4, 3), exif=exif)
    assert np.array_equal(load_dataset(tmp_path / "set").images[0], np.rot90(random_pixels(1, 5, 4, 3), -1))


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    write_image(folder / "dog" / "9.png", random_pixels(1, 5, 6, 3))
    for path in (folder, write_zip(folder, tmp_path / "set.zip")):
        error = load_error(path)
        assert error.path == path / "dog" / "9.png"
        assert "6x5" in error.reason
        assert "cat/1.png is 4x5" in error.reason


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_truncated_images_are_named(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "set"
    write_image(folder / f"a{suffix}", random_pixels(0, 16, 16, 3))
    bad = write_image(folder / f"b{suffix}", random_pixels(1, 16, 16, 3))
    whole = bad.read_bytes()
    for length in (0, 1, 10, 30, len(whole) // 2, len(whole) * 3 // 4):
        bad.write_bytes(whole[:length])
        for path in (folder, write_zip(folder, tmp_path / "set.zip")):
            assert load_error(path).path == path / bad.name, length


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_damaged_images_never_crash_the_reader(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / "set" / f"a{suffix}", random_pixels(0, 16, 16, 3))
    whole, random = path.read_bytes(), np.random.RandomState(0)
    refused = []
    for _ in range(150):
        content = bytearray(whole)
        for position in random.randint(0, min(len(whole), 200), 3):
            content[position] = random.randint(256)
        path.write_bytes(content)
        try:
            load_dataset(path.parent)
        except DataError as error:
            refused.append(error.path)
    assert set(refused) == {path}


def test_a_text_file_named_as_an_image_is_refused(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "z.png").write_text("hello")
    error = load_error(folder)
    assert error.path == folder / "z.png"
    assert "no image of a known format" in error.reason
