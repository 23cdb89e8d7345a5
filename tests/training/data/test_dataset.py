"""Reading data sets: each kind that a user may bring, and a clear refusal of each damage."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import DataError
from training.data import image_folder
from training.data.dataset import Dataset, load_dataset, toy1d, toy25


def pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def picture(path: Path, array: NDArray[Any], mode: str | None = None, **options: Any) -> Path:
    """Write an array as a picture, converted to `mode` first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def zipped(folder: Path, path: Path, method: int = zipfile.ZIP_STORED, below: str = "") -> Path:
    """A zip of a folder's files, in an order that is not sorted."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                archive.write(file, below + file.relative_to(folder).as_posix())
    return path


def idx(array: NDArray[np.uint8]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist(folder: Path, count: int = 6, split: str = "train", packed: bool = True) -> tuple[Path, Path]:
    """MNIST's two files: random images, labels 0, 1, 2, 0, ..."""
    folder.mkdir(exist_ok=True)
    suffix = ".gz" if packed else ""
    images = folder / f"{split}-images-idx3-ubyte{suffix}"
    labels = folder / f"{split}-labels-idx1-ubyte{suffix}"
    for path, array in ((images, pixels(1, count, 5, 4)), (labels, np.arange(count, dtype=np.uint8) % 3)):
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return images, labels


def flat_folder(folder: Path, count: int = 4) -> Path:
    for k in range(count):
        picture(folder / f"{k}.png", pixels(k, 5, 4, 3))
    return folder


def class_folder(folder: Path) -> Path:
    for k, name in enumerate(("dog", "cat", "cat", "emu")):
        picture(folder / name / f"{k}.png", pixels(k, 5, 4, 3))
    return folder


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    return caught.value


def same(a: Dataset, b: Dataset) -> bool:
    return a.digest == b.digest and np.array_equal(a.images, b.images) and a.class_names == b.class_names


# IDX


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_in_mnist_format_gives_its_training_split(tmp_path: Path, packed: bool) -> None:
    mnist(tmp_path / "digits", packed=packed)
    mnist(tmp_path / "digits", count=3, split="t10k", packed=packed)
    found = load_dataset(tmp_path / "digits")
    assert found.name == "digits"
    assert np.array_equal(found.images, pixels(1, 6, 5, 4)[..., None])
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.labels.dtype == np.int64
    assert found.class_names == ("0", "1", "2")
    assert found.shape == (1, 5, 4)


def test_a_file_of_idx_images_is_read_with_the_labels_beside_it(tmp_path: Path) -> None:
    train, _ = mnist(tmp_path)
    test, _ = mnist(tmp_path, count=3, split="t10k", packed=False)
    assert same(load_dataset(train), load_dataset(tmp_path))
    assert len(load_dataset(test)) == 3


def test_idx_images_and_labels_may_differ_in_packing(tmp_path: Path) -> None:
    images, labels = mnist(tmp_path)
    whole = load_dataset(images)
    labels.with_suffix("").write_bytes(gzip.decompress(labels.read_bytes()))
    labels.unlink()
    assert same(load_dataset(images), whole)


def test_a_missing_labels_file_is_named(tmp_path: Path) -> None:
    images, labels = mnist(tmp_path)
    labels.unlink()
    for path in (images, tmp_path):
        error = refusal(path)
        assert error.path == labels.with_suffix("")
        assert "train-labels-idx1-ubyte.gz" in error.reason


def test_a_folder_with_only_the_test_split_names_the_missing_file(tmp_path: Path) -> None:
    mnist(tmp_path, split="t10k")
    assert refusal(tmp_path).path == tmp_path / "train-images-idx3-ubyte"


def test_the_labels_file_alone_is_not_taken_for_images(tmp_path: Path) -> None:
    _, labels = mnist(tmp_path)
    error = refusal(labels)
    assert error.path == labels
    assert "give the file of images" in error.reason


def test_a_wrong_number_of_labels_names_the_labels_file(tmp_path: Path) -> None:
    images, labels = mnist(tmp_path)
    labels.write_bytes(gzip.compress(idx(np.zeros(5, np.uint8))))
    error = refusal(images)
    assert error.path == labels
    assert "(5,)" in error.reason
    assert "6 images" in error.reason


@pytest.mark.parametrize("array", [np.zeros((0, 5, 4), np.uint8), np.zeros((6, 20), np.uint8)])
def test_idx_without_images_is_refused(tmp_path: Path, array: NDArray[np.uint8]) -> None:
    images, labels = mnist(tmp_path, packed=False)
    images.write_bytes(idx(array))
    labels.write_bytes(idx(np.zeros(len(array), np.uint8)))
    error = refusal(images)
    assert error.path == images
    assert str(array.shape) in error.reason


@pytest.mark.parametrize("cut", [5, 30, -9, -1])
def test_a_truncated_gzip_file_is_named(tmp_path: Path, cut: int) -> None:
    images, _ = mnist(tmp_path)
    images.write_bytes(images.read_bytes()[:cut])
    assert refusal(tmp_path).path == images


def test_a_gzip_file_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    images, _ = mnist(tmp_path)
    content = bytearray(images.read_bytes())
    content[-8] ^= 1
    images.write_bytes(content)
    error = refusal(tmp_path)
    assert error.path == images
    assert "CRC" in error.reason


def test_a_gzip_file_with_broken_compression_is_named(tmp_path: Path) -> None:
    images, _ = mnist(tmp_path)
    images.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 50)
    error = refusal(tmp_path)
    assert error.path == images
    assert "damaged gzip" in error.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01....", "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "inside its header"),
        (idx(pixels(1, 6, 5, 4))[:-1], "truncated"),
        (idx(pixels(1, 6, 5, 4)) + b"\0", "too long"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated"),
    ],
)
def test_idx_bytes_that_do_not_match_the_header_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    images, _ = mnist(tmp_path, packed=False)
    images.write_bytes(content)
    error = refusal(tmp_path)
    assert error.path == images
    assert reason in error.reason


def test_truncated_idx_inside_whole_gzip_is_refused(tmp_path: Path) -> None:
    images, _ = mnist(tmp_path)
    images.write_bytes(gzip.compress(idx(pixels(1, 6, 5, 4))[:-1]))
    error = refusal(tmp_path)
    assert error.path == images
    assert "119 bytes" in error.reason


# Pictures: labels


def test_class_folders_give_labels_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = load_dataset(class_folder(tmp_path / "animals"))
    assert found.name == "animals"
    assert found.class_names == ("cat", "dog", "emu")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 2]
    assert np.array_equal(found.images, np.stack([pixels(k, 5, 4, 3) for k in (1, 2, 0, 3)]))


def test_class_folders_named_by_integers_are_in_the_order_of_their_values(tmp_path: Path) -> None:
    for name in ("10", "9", "-1"):
        picture(tmp_path / "set" / name / "a.png", pixels(int(name) + 1, 2, 2))
    assert load_dataset(tmp_path / "set").class_names == ("-1", "9", "10")


def test_flat_pictures_without_a_csv_are_unlabelled(tmp_path: Path) -> None:
    found = load_dataset(flat_folder(tmp_path / "set"))
    assert found.labels is None
    assert found.class_names == ()
    assert np.array_equal(found.images, np.stack([pixels(k, 5, 4, 3) for k in range(4)]))
    assert found.batch(np.array([1]))[1].tolist() == [0]


def test_a_csv_inside_gives_the_labels(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,age,label\n3.png,1,old\n1.png,2,new\n0.png,3,old\n2.png,4,mid\n")
    for found in (load_dataset(folder), load_dataset(zipped(folder, tmp_path / "set.zip"))):
        assert found.class_names == ("mid", "new", "old")
        assert found.labels is not None
        assert found.labels.tolist() == [2, 1, 0, 2]


def test_a_csv_beside_gives_the_labels_of_a_zip_and_of_a_folder(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "v1.faces")
    archive = zipped(folder, tmp_path / "v1.faces.zip")
    assert load_dataset(folder).labels is None
    (tmp_path / "v1.faces.csv").write_text("file,label\n0.png,b\n1.png,a\n2.png,b\n3.png,b\n")
    assert same(load_dataset(folder), load_dataset(archive))
    found = load_dataset(archive)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1, 1]


def test_integer_labels_of_a_csv_sort_by_value(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,label\n0.png,10\n1.png,9\n2.png,10\n3.png,100\n")
    found = load_dataset(folder)
    assert found.class_names == ("9", "10", "100")
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1, 2]


def test_labels_of_mixed_kind_sort_as_text(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,label\n0.png,10\n1.png,9\n2.png,x\n3.png,9\n")
    assert load_dataset(folder).class_names == ("10", "9", "x")


def test_a_csv_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_bytes('\ufefffile, label\r\n"0.png", "é, big"\r\n1.png,b \r\n'.encode())
    assert load_dataset(folder).class_names == ("b", "é, big")


def test_a_csv_may_name_pictures_in_sub_folders(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    (folder / "labels.csv").write_text("file,label\ncat/1.png,x\ncat/2.png,y\ndog/0.png,x\nemu/3.png,x\n")
    found = load_dataset(folder)
    assert found.class_names == ("x", "y")
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("table", "reasons"),
    [
        ("file,age,sex\n0.png,1,f\n1.png,2,m\n", ["'file', 'age', 'sex'", "'label'", "move the csv away"]),
        ("name,label\n0.png,1\n1.png,2\n", ["'name', 'label'"]),
        ("", ["empty"]),
        ("file,label\n0.png,a\n1.png\n", ["line 3"]),
        ("file,label\n0.png,\n1.png,b\n", ["line 2"]),
        ("file,label\n0.png,a\n1.png,b\n0.png,a\n", ["again", "line 4"]),
        ('file,label\n0.png,"a\n', ["not a csv"]),
        (b"file,label\n0.png,\xff\n", ["UTF-8"]),
    ],
)
def test_a_csv_that_tells_no_labels_is_named(tmp_path: Path, table: str | bytes, reasons: list[str]) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    for path in (folder, zipped(folder, tmp_path / "packed.zip")):
        error = refusal(path)
        assert error.path == path / "labels.csv"
        assert all(reason in error.reason for reason in reasons), error


def test_a_csv_beside_is_named_as_itself(tmp_path: Path) -> None:
    archive = zipped(flat_folder(tmp_path / "set", 2), tmp_path / "faces.zip")
    (tmp_path / "faces.csv").write_text("file,age\n0.png,1\n1.png,2\n")
    assert refusal(archive).path == tmp_path / "faces.csv"


def test_a_picture_that_the_csv_lists_but_is_missing_is_named(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_text("file,label\n0.png,a\n7.png,a\n1.png,b\n")
    for path in (folder, zipped(folder, tmp_path / "set.zip")):
        error = refusal(path)
        assert error.path == path / "7.png"
        assert "line 3" in error.reason


def test_a_picture_that_the_csv_does_not_list_is_named(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 3)
    (folder / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n")
    for path in (folder, zipped(folder, tmp_path / "set.zip")):
        error = refusal(path)
        assert error.path == path / "2.png"
        assert "no row in labels.csv" in error.reason


# Pictures: folders and zips


@pytest.mark.parametrize("build", [flat_folder, class_folder])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_same_files_in_a_folder_and_in_a_zip_are_the_same_data(tmp_path: Path, build: Any, method: int) -> None:
    folder = build(tmp_path / "set")
    assert same(load_dataset(folder), load_dataset(zipped(folder, tmp_path / "other.zip", method)))


@pytest.mark.parametrize("build", [flat_folder, class_folder])
def test_a_zip_that_wraps_everything_in_one_folder_is_looked_into(tmp_path: Path, build: Any) -> None:
    folder = build(tmp_path / "set")
    archive = zipped(folder, tmp_path / "other.zip", below="a/b/")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr("README.txt", "not a picture")
    assert same(load_dataset(folder), load_dataset(archive))


def test_a_csv_inside_a_wrapping_folder_is_found(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set", 2)
    (folder / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n")
    assert same(load_dataset(folder), load_dataset(zipped(folder, tmp_path / "other.zip", below="set/")))


def test_a_zip_leaves_nothing_on_disk(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    archive = zipped(class_folder(tmp_path / "set"), tmp_path / "in" / "set.zip")
    before = sorted(tmp_path.rglob("*"))
    load_dataset(archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_hidden_files_and_other_files_are_left_out(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    plain = load_dataset(folder)
    for name in ("README.md", ".hidden.png", "._0.png", ".git/a.png", "__MACOSX/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no picture")
    assert same(load_dataset(folder), plain)


def test_linked_class_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    real = class_folder(tmp_path / "set")
    (tmp_path / "links").mkdir()
    for name in ("cat", "dog", "emu"):
        (tmp_path / "links" / name).symlink_to(real / name)
    (real / "cat" / "loop").symlink_to(real)
    assert same(load_dataset(tmp_path / "links"), load_dataset(real))


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".bmp", ".webp", ".jpg", ".jpeg"])
def test_each_format_is_read(tmp_path: Path, suffix: str) -> None:
    array = np.full((5, 4, 3), 100, np.uint8)
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    picture(tmp_path / "set" / f"a{suffix}", array, **options)
    found = load_dataset(tmp_path / "set")
    assert found.images.shape == (1, 5, 4, 3)
    assert np.array_equal(found.images[0], array)


@pytest.mark.parametrize("suffix", [".gif", ".tiff"])
def test_other_picture_formats_are_refused_rather_than_skipped(tmp_path: Path, suffix: str) -> None:
    folder = flat_folder(tmp_path / "set")
    other = picture(folder / f"x{suffix}", pixels(1, 5, 4, 3))
    error = refusal(folder)
    assert error.path == other
    assert "convert" in error.reason


def test_pictures_inside_and_beside_class_folders_are_refused(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    stray = picture(folder / "zebra.png", pixels(1, 5, 4, 3))
    error = refusal(folder)
    assert error.path == stray
    assert "class folders" in error.reason


def test_folders_inside_class_folders_are_refused(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    deep = picture(folder / "cat" / "white" / "a.png", pixels(1, 5, 4, 3))
    error = refusal(folder)
    assert error.path == deep
    assert "too deep" in error.reason


@pytest.mark.parametrize("name", ["folder", "archive.zip"])
def test_no_pictures_at_all_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    (tmp_path / "folder" / "notes.txt").write_text("no picture")
    zipped(tmp_path / "folder", tmp_path / "archive.zip")
    error = refusal(tmp_path / name)
    assert error.path == tmp_path / name
    assert "holds no pictures" in error.reason


def test_a_zip_that_is_none_is_refused(tmp_path: Path) -> None:
    whole = zipped(flat_folder(tmp_path / "set"), tmp_path / "set.zip").read_bytes()
    for content in (b"", b"hello", whole[:-30]):
        (tmp_path / "bad.zip").write_bytes(content)
        error = refusal(tmp_path / "bad.zip")
        assert error.path == tmp_path / "bad.zip"
        assert "not a whole zip" in error.reason


def test_a_zip_member_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "a.bmp", pixels(1, 9, 9, 3))
    archive = zipped(folder, tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content)
    error = refusal(archive)
    assert error.path == archive / "a.bmp"
    assert "CRC" in error.reason


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    archive = zipped(flat_folder(tmp_path / "set"), tmp_path / "set.zip")
    with zipfile.ZipFile(archive, "a") as more:
        more.write(tmp_path / "set" / "1.png", "1.png")
    error = refusal(archive)
    assert error.path == archive / "1.png"
    assert "twice" in error.reason


def test_an_encrypted_zip_names_the_member(tmp_path: Path) -> None:
    archive = zipped(flat_folder(tmp_path / "set", 1), tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    error = refusal(archive)
    assert error.path == archive / "0.png"
    assert "encrypted" in error.reason


# Pictures: pixels


def test_grey_files_make_a_grey_set(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png", pixels(1, 5, 4))
    picture(tmp_path / "set" / "b.png", np.stack([pixels(2, 5, 4), np.full((5, 4), 255, np.uint8)], axis=-1))
    picture(tmp_path / "set" / "c.png", pixels(3, 5, 4) > 127)
    found = load_dataset(tmp_path / "set")
    assert found.shape == (1, 5, 4)
    assert np.array_equal(found.images[0, ..., 0], pixels(1, 5, 4))
    assert np.array_equal(found.images[1, ..., 0], pixels(2, 5, 4))
    assert np.array_equal(found.images[2, ..., 0], np.where(pixels(3, 5, 4) > 127, 255, 0))


def test_one_file_in_colour_makes_the_set_rgb(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png", pixels(1, 5, 4))
    picture(tmp_path / "set" / "b.png", pixels(2, 5, 4, 3))
    found = load_dataset(tmp_path / "set")
    assert np.array_equal(found.images, np.stack([np.repeat(pixels(1, 5, 4)[..., None], 3, 2), pixels(2, 5, 4, 3)]))


def test_palettes_become_rgb(tmp_path: Path) -> None:
    array = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    path = picture(tmp_path / "set" / "a.png", array, "P")
    with Image.open(path) as image:
        assert image.mode == "P"
    assert np.array_equal(load_dataset(tmp_path / "set").images[0], array)


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    array = pixels(1, 5, 4, 4)
    array[..., 3] = 255
    picture(tmp_path / "set" / "a.png", array)
    assert np.array_equal(load_dataset(tmp_path / "set").images[0], array[..., :3])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparent_pixels_are_refused(tmp_path: Path, mode: str) -> None:
    array = np.full((5, 4, 4), 255, np.uint8)
    array[2, 2] = 0
    options = {"transparency": {"L": 0, "RGB": (0, 0, 0)}[mode]} if mode in ("L", "RGB") else {}
    path = picture(tmp_path / "set" / "a.png", array, mode, **options)
    error = refusal(tmp_path / "set")
    assert error.path == path
    assert "transparent" in error.reason


def test_16_bit_grey_and_cmyk_are_refused(tmp_path: Path) -> None:
    path = picture(tmp_path / "deep" / "a.png", np.full((5, 4), 1000, np.uint16))
    assert refusal(tmp_path / "deep").path == path
    path = picture(tmp_path / "print" / "a.jpg", pixels(1, 5, 4, 3), "CMYK")
    error = refusal(tmp_path / "print")
    assert error.path == path
    assert "CMYK" in error.reason
    assert "convert" in error.reason


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels(k, 5, 4, 3)) for k in range(2)]
    (tmp_path / "set").mkdir()
    frames[0].save(tmp_path / "set" / "a.webp", save_all=True, append_images=frames[1:])
    error = refusal(tmp_path / "set")
    assert error.path == tmp_path / "set" / "a.webp"
    assert "2 pictures" in error.reason


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "set" / "a.png", pixels(1, 5, 4, 3), exif=exif)
    assert np.array_equal(load_dataset(tmp_path / "set").images[0], np.rot90(pixels(1, 5, 4, 3), -1))


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "set")
    picture(folder / "dog" / "9.png", pixels(1, 5, 6, 3))
    for path in (folder, zipped(folder, tmp_path / "set.zip")):
        error = refusal(path)
        assert error.path == path / "dog" / "9.png"
        assert "6x5" in error.reason
        assert "cat/1.png is 4x5" in error.reason


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_truncated_pictures_are_named(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "set"
    picture(folder / f"a{suffix}", pixels(0, 16, 16, 3))
    bad = picture(folder / f"b{suffix}", pixels(1, 16, 16, 3))
    whole = bad.read_bytes()
    for length in (0, 1, 10, 30, len(whole) // 2, len(whole) * 3 // 4):
        bad.write_bytes(whole[:length])
        for path in (folder, zipped(folder, tmp_path / "set.zip")):
            assert refusal(path).path == path / bad.name, length


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_damaged_pictures_are_read_or_refused_but_never_crash(tmp_path: Path, suffix: str) -> None:
    path = picture(tmp_path / "set" / f"a{suffix}", pixels(0, 16, 16, 3))
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


def test_a_text_file_named_as_a_picture_says_so(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "set")
    (folder / "z.png").write_text("hello")
    error = refusal(folder)
    assert error.path == folder / "z.png"
    assert "no picture of a known format" in error.reason


# npz


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_npz_is_read(tmp_path: Path) -> None:
    images = pixels(1, 3, 5, 4, 3)
    found = load_dataset(
        npz(tmp_path / "set.npz", images=images, labels=np.array([1, 0, 1], np.uint8), class_names=["a", "b"])
    )
    assert found.name == "set.npz"
    assert np.array_equal(found.images, images)
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1]
    assert found.labels.dtype == np.int64
    assert found.class_names == ("a", "b")
    assert all(type(name) is str for name in found.class_names)


def test_an_npz_may_be_grey_compressed_and_unlabelled(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", images=pixels(1, 3, 5, 4))
    found = load_dataset(tmp_path / "set.npz")
    assert np.array_equal(found.images, pixels(1, 3, 5, 4)[..., None])
    assert found.labels is None
    assert found.class_names == ()


def test_labels_of_an_npz_without_names_are_named_by_number(tmp_path: Path) -> None:
    found = load_dataset(npz(tmp_path / "set.npz", images=pixels(1, 3, 5, 4), labels=[2, 0, 2]))
    assert found.class_names == ("0", "1", "2")


def test_an_npz_and_a_folder_of_the_same_content_have_the_same_digest(tmp_path: Path) -> None:
    folder = load_dataset(class_folder(tmp_path / "set"))
    path = npz(tmp_path / "a.npz", images=folder.images, labels=folder.labels, class_names=folder.class_names)
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
def test_an_npz_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    error = refusal(npz(tmp_path / "set.npz", **arrays))
    assert error.path == tmp_path / "set.npz"
    assert reason in error.reason


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    whole = npz(tmp_path / "set.npz", images=pixels(1, 3, 5, 4)).read_bytes()
    array = io.BytesIO()
    np.save(array, pixels(1, 3, 5, 4))
    damaged = bytearray(whole)
    damaged[200] ^= 1
    for content in (b"", b"hello", whole[:-30], whole[: len(whole) // 2], bytes(damaged), array.getvalue()):
        (tmp_path / "set.npz").write_bytes(content)
        assert refusal(tmp_path / "set.npz").path == tmp_path / "set.npz"


# All kinds


@pytest.mark.parametrize("name", ["nothing", "nothing.zip", "nothing.npz", "train-images-idx3-ubyte.gz"])
def test_a_path_that_does_not_exist_is_named(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path / name)
    assert error.path == tmp_path / name
    assert error.reason == "does not exist"


def test_a_file_of_no_known_kind_is_refused_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "set.parquet").write_bytes(b"x")
    error = refusal(tmp_path / "set.parquet")
    assert error.path == tmp_path / "set.parquet"
    assert ".zip" in error.reason
    assert ".npz" in error.reason


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = class_folder(tmp_path / "set")
    scandir = os.scandir

    def locked(path: str) -> Any:
        if Path(path) == folder / "cat":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # A changed mode would not stop root, under whom tests run in containers.
    monkeypatch.setattr(os, "scandir", locked)
    error = refusal(folder)
    assert error.path == folder / "cat"
    assert "Permission denied" in error.reason


def test_a_set_in_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flat_folder(tmp_path / "set"))
    assert load_dataset(Path()).name == "set"


@pytest.mark.parametrize("kind", ["set", "set.zip", "mnist"])
def test_large_sets_are_mapped_from_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    zipped(class_folder(tmp_path / "set"), tmp_path / "set.zip")
    mnist(tmp_path / "mnist")
    in_memory = load_dataset(tmp_path / kind)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(image_folder, "MAPPED_ABOVE_BYTES", 0)
    mapped = load_dataset(tmp_path / kind)
    assert not isinstance(in_memory.images, np.memmap)
    assert isinstance(mapped.images, np.memmap) or isinstance(mapped.images.base, np.memmap)
    assert not list((tmp_path / "temporary").iterdir())
    assert same(mapped, in_memory)
    assert np.array_equal(mapped.batch(np.array([2, 0]))[0], in_memory.batch(np.array([2, 0]))[0])


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_folder, "MAPPED_ABOVE_BYTES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    error = refusal(flat_folder(tmp_path / "set"))
    assert error.path == tmp_path / "set"
    assert "TMPDIR" in error.reason


# What a data set is


def test_a_batch_of_pictures_is_scaled_to_minus_one_to_one(tmp_path: Path) -> None:
    images = np.array([0, 255, 51], np.uint8).reshape(1, 1, 1, 3)
    floats, labels = load_dataset(npz(tmp_path / "set.npz", images=images, labels=[1])).batch(np.array([0, 0]))
    assert floats.shape == (2, 3, 1, 1)
    assert floats.dtype == np.float32
    assert floats.flags["C_CONTIGUOUS"]
    assert floats[0].ravel().tolist() == pytest.approx([-1.0, 1.0, -0.6])
    assert labels.tolist() == [1, 1]


def test_the_digest_tells_pixels_labels_names_and_shape_apart() -> None:
    images = pixels(1, 4, 2, 2, 1)
    labels = np.array([0, 1, 0, 1])
    other = images.copy()
    other[3, 1, 1, 0] ^= 1
    sets = [
        Dataset("a", images),
        Dataset("a", images, labels, ("x", "y")),
        Dataset("a", images, labels[::-1].copy(), ("x", "y")),
        Dataset("a", images, labels, ("x", "z")),
        Dataset("a", other),
        Dataset("a", images.reshape(4, 4, 1, 1)),
        Dataset("a", images[::-1]),
    ]
    assert len({s.digest for s in sets}) == len(sets)
    assert Dataset("other name", images).digest == sets[0].digest


def test_toy_data_are_what_their_names_say() -> None:
    one, grid = toy1d(), toy25()
    assert one.shape == (1, 1, 1)
    assert grid.shape == (2, 1, 1)
    assert one.images.mean() == pytest.approx(4.0, abs=0.02)
    assert one.images.std() == pytest.approx(1.25, abs=0.02)
    points = grid.images.reshape(-1, 2)
    centres, counts = np.unique(points.round(), axis=0, return_counts=True)
    assert len(centres) == 25
    assert counts.min() > 2300
    assert (points - points.round()).std() == pytest.approx(0.05, abs=0.001)
    assert np.array_equal(one.batch(np.array([5]))[0], one.images[[5]])


# Holding out


def numbered(count: int) -> Dataset:
    """Every image tells its index."""
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Dataset("numbered", images, np.arange(count, dtype=np.int64) % 3, ("a", "b", "c"))


def test_a_split_puts_every_sample_with_its_label_on_one_side() -> None:
    whole = numbered(200)

    train, held_out = whole.split(0.1)

    assert (len(train), len(held_out)) == (180, 20)
    assert sorted([*train.images.flat, *held_out.images.flat]) == list(range(200))
    for part in (train, held_out):
        assert part.labels is not None
        assert (part.images.ravel() % 3 == part.labels).all()
        assert (np.diff(part.images.ravel().astype(int)) > 0).all()
        assert part.class_names == whole.class_names


def test_what_is_held_out_depends_on_the_number_of_samples_alone() -> None:
    one, other = numbered(200), Dataset("other", np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1))

    assert np.array_equal(one.split(0.1)[1].images, other.split(0.1)[1].images)
    # Pinned: scores of one version of the trainer shall compare with those of the next.
    assert one.split(0.025)[1].images.ravel().tolist() == [11, 16, 29, 77, 132]
    assert set(numbered(199).split(0.1)[1].images.flat) != set(one.split(0.1)[1].images.flat)


def test_a_larger_share_holds_out_what_a_smaller_one_does_and_more() -> None:
    small, large = (set(numbered(200).split(share)[1].images.flat) for share in (0.1, 0.2))

    assert small < large


def test_without_a_share_nothing_is_held_out_or_copied() -> None:
    whole = numbered(20)

    train, held_out = whole.split(0.0)

    assert train is whole
    assert len(held_out) == 0


def test_toy_data_can_be_split_too() -> None:
    train, held_out = toy25().split(0.5)

    assert len(train) == len(held_out) == 32768
    assert train.images.dtype == np.float32
