"""What `data check` says of folders as people have them: a wrong result or a wrong "Ready" is a fault.

Each situation is known from reports about readers of folders: torchvision's, Hugging Face's, Keras's, StyleGAN's.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from PIL import Image

from ganmint.cli import cli
from tests.training.data.samples import random_pixels, write_image

READY = "Ready (preset own)"
Make = Callable[[Path], Path | None]


class Situation(NamedTuple):
    """How to make a folder (or another path, which is returned), and what must be said of it."""

    make: Make
    said: tuple[str, ...]


def pictures(*names: str) -> Make:
    """A different picture for each name."""

    def make(folder: Path) -> None:
        for k, name in enumerate(names):
            path = folder / (name if name.endswith((".png", ".jpg")) else f"{name}/{k}.png")
            write_image(path, random_pixels(k, 28, 28, 3))

    return make


def table(rows: str, count: int = 4, name: str = "labels.csv") -> Make:
    """Pictures 0.png, 1.png, ... with a table."""

    def make(folder: Path) -> None:
        pictures(*(f"{k}.png" for k in range(count)))(folder)
        (folder / name).write_text(rows)

    return make


def beside(files: dict[str, bytes], first: Make | None = None) -> Make:
    """Further files beside pictures in two classes, or beside others."""

    def make(folder: Path) -> None:
        (first or pictures("cat", "cat", "dog"))(folder)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return make


def same_picture(first: str, second: str, *others: str) -> Make:
    def make(folder: Path) -> None:
        pictures(first, *others)(folder)
        (folder / second).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / first, folder / second)

    return make


def empty_folder(folder: Path) -> None:
    pictures("cat", "dog")(folder)
    (folder / "emu").mkdir()


def empty_folder_in_zip(folder: Path) -> Path:
    empty_folder(folder)
    return Path(shutil.make_archive(str(folder), "zip", folder))


def outside_a_tar(folder: Path) -> Path:
    pictures("cat", "dog")(folder)
    with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
        archive.add(folder, "../../set")
    return folder.with_suffix(".tar")


def twice_in_a_tar(folder: Path) -> Path:
    pictures("cat/0.png", "dog/0.png")(folder)
    with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
        archive.add(folder, "set")
        archive.add(folder / "dog" / "0.png", "set/cat/0.png")
    return folder.with_suffix(".tar")


def links_in_a_tar(folder: Path) -> Path:
    pictures("cat/0.png", "dog/0.png")(folder)
    with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
        archive.add(folder / "cat", "cat")
        for name, kind, target in (
            ("dog/1.png", tarfile.LNKTYPE, "cat/0.png"),
            ("dog/2.png", tarfile.SYMTYPE, "x.png"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    return folder.with_suffix(".tar")


def two_pictures_of_a_record(folder: Path) -> Path:
    pictures("0.input.png", "0.target.png")(folder)
    (folder / "0.cls").write_text("1")
    with tarfile.open(folder.with_suffix(".tar"), "w") as archive:
        archive.add(folder, "")
    return folder.with_suffix(".tar")


def cut_tar_gz(folder: Path) -> Path:
    pictures("cat", "dog")(folder)
    path = Path(shutil.make_archive(str(folder), "gztar", folder))
    path.write_bytes(path.read_bytes()[:-500])
    return path


def macos_zip(folder: Path) -> Path:
    pictures("set/cat/0.png", "set/dog/0.png")(folder)
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder).as_posix())
            archive.writestr("__MACOSX/" + file.relative_to(folder).parent.as_posix() + "/._0.png", b"x")
    return folder.with_suffix(".zip")


def archives_in_a_folder(folder: Path) -> None:
    pictures("cat")(folder / "x")
    for split in ("train", "test"):
        shutil.make_archive(str(folder / split), "zip", folder / "x")
    shutil.rmtree(folder / "x")


def dead_link(folder: Path) -> None:
    pictures("0.png")(folder)
    (folder / "1.png").symlink_to(folder / "nowhere.png")


def named_as_another_format(folder: Path) -> None:
    write_image(folder / "0.png", random_pixels(0, 28, 28, 3))
    (folder / "0.png").rename(folder / "0.jpg")


def with_a_preview(folder: Path) -> None:
    """A JPEG as phones write it, with a second, smaller picture."""
    folder.mkdir(exist_ok=True)
    small = Image.fromarray(random_pixels(1, 8, 8, 3))
    Image.fromarray(random_pixels(0, 28, 28, 3)).save(folder / "0.jpg", "MPO", save_all=True, append_images=[small])


LIST_LABELS = "".join(json.dumps({"file_name": f"{k}.png", "label": ["a", "b"]}) + "\n" for k in range(4))
INDEXED = ",file,label\n" + "".join(f"{k},{k}.png,{'ab'[k % 2]}\n" for k in range(4))
VALUES = "file,label\n" + "".join(f"{k}.png,{k * 0.37:.3f}\n" for k in range(20))

SITUATIONS = {
    # Files that systems and programs leave.
    "Synology's thumbnails": Situation(pictures("cat", "cat", "@eaDir/0.png@SYNOPHOTO.jpg"), ("1 hidden", READY)),
    "a Windows recycle bin": Situation(pictures("cat", "dog", "$RECYCLE.BIN"), ("classes: 2 (", "1 hidden", READY)),
    "a notebook's checkpoints": Situation(
        pictures("cat", "dog", "cat/.ipynb_checkpoints"), ("classes: 2 (cat 1, dog 1)", "1 hidden", READY)
    ),
    "thumbnails and icons": Situation(
        beside({"cat/Thumbs.db": b"x", ".DS_Store": b"x", "dog/Icon\r": b""}), ("cat/Thumbs.db", "1 hidden", READY)
    ),
    "a zip of macOS": Situation(macos_zip, ("classes: 2 (cat 1, dog 1)", "not used: 2 hidden", READY)),
    "an unfinished download": Situation(beside({"cat/9.png.crdownload": b"x"}), ("not miss cat/9.png.crdownload",)),
    "an empty class": Situation(empty_folder, ("classes: 2 (", "If you do not miss emu/ ")),
    "an empty class in a zip": Situation(empty_folder_in_zip, ("classes: 2 (", "If you do not miss emu/ ")),
    # Archives.
    "a tar of classes": Situation(outside_a_tar, ("classes: 2 (cat 1, dog 1)", READY)),
    "a tar with a name twice": Situation(twice_in_a_tar, ("set/cat/0.png: is in the archive twice",)),
    "links in a tar": Situation(links_in_a_tar, ("classes: 2 (cat 1, dog 2)", "dog/2.png: cannot be read (a link")),
    "two pictures a record": Situation(two_pictures_of_a_record, ("two images of one record",)),
    "a tar.gz that is cut": Situation(cut_tar_gz, ("set.tar.gz: cannot be read as a tar",)),
    "archives in a folder": Situation(
        archives_in_a_folder, ("found test.zip, train.zip", "train.zip --set data.test=/")
    ),
    "an archive in a folder": Situation(
        beside({"all.zip": b"x"}, lambda folder: None), ("give one of its archives: --data /",)
    ),
    # Folders that are no classes.
    "train and dev": Situation(pictures("train/a", "train/b", "dev/a"), ("test: 1 images more", READY)),
    "train and eval": Situation(pictures("train/a", "train/b", "eval/a"), ("test: 1 images more", READY)),
    "a split beside something else": Situation(
        pictures("train", "unlabeled"), ("'train' has the name of a split", "If this is meant")
    ),
    "pix2pix": Situation(pictures("trainA", "trainB"), ("named like parts of a set", "If this is meant")),
    "folds": Situation(pictures("fold_1", "fold_2"), ("named like parts of a set", "If this is meant")),
    "pictures and their truth": Situation(pictures("images", "gt"), ("images/ and gt/", "--data")),
    "Tiny ImageNet's folders": Situation(
        pictures("a/images", "b/images", "b/images"), ("classes: 2 (a 1, b 2)", READY)
    ),
    "splits in classes": Situation(pictures("cat/train", "cat/test", "dog/train"), ("is too deep",)),
    "YOLO's labels": Situation(beside({"labels/0.txt": b"0 1"}, pictures("images/0.png")), ("not miss labels/0.txt",)),
    # Splits that do not fit together.
    "a class in the test only": Situation(
        pictures("train/a", "train/b", "val/a", "val/emu"), ("no training image has: 'emu'", "cannot be trained on yet")
    ),
    "a test without labels": Situation(
        pictures("train/a", "train/b", "test/0.png", "test/1.png"), ("labels for only one", "cannot be trained on yet")
    ),
    "a test image that is trained on": Situation(
        same_picture("train/a/0.png", "test/a/9.png", "train/b/1.png", "test/b/2.png"),
        ("1 test images are training images", "If this is meant"),
    ),
    "a split in the table": Situation(
        table("file,label,split\n0.png,a,train\n1.png,b,train\n2.png,a,train\n3.png,b,test\n"),
        ("If you do not miss column split",),
    ),
    # Names of classes.
    "classes that differ in case": Situation(pictures("Cat", "cat"), ("'Cat' and 'cat' differ", "If this is meant")),
    "a space at the end": Situation(pictures("cat ", "cat"), ("differ in case, spaces", "If this is meant")),
    "accents of one and two characters": Situation(
        pictures("caf\u00e9", "cafe\u0301"), ("differ in case, spaces, accents", "If this is meant")
    ),
    "leading zeros": Situation(pictures("01", "1"), ("'01' and '1' differ", "If this is meant")),
    "a picture in two classes": Situation(
        same_picture("cat/0.png", "dog/9.png", "dog/1.png"), ("1 groups of equal images are in two classes", "If this")
    ),
    "identifiers as classes": Situation(
        pictures(*(f"person{k}" for k in range(12))), ("12 classes for 12 images", "If this is meant")
    ),
    # Tables.
    "a value for each image": Situation(table(VALUES, 20), ("20 classes for 20 images", "If this is meant")),
    "nan": Situation(table("file,label\n0.png,a\n1.png,nan\n2.png,b\n3.png,a\n"), ("'nan' on line 3, which stands",)),
    "lists of labels": Situation(table(LIST_LABELS, name="metadata.jsonl"), ("has a list as label on line 1",)),
    "an index by pandas": Situation(table(INDEXED), ("classes: 2 (a 2, b 2)", READY)),
    "no headings": Situation(table("0.png,a\n1.png,b\n"), ("it needs 'file' and 'label'",)),
    "paths of another machine": Situation(table("file,label\n/home/me/0.png,a\n"), ("/home/me/0.png: is listed",)),
    "addresses": Situation(table("file,label\nhttps://x.org/0.png,a\n"), ("is listed in labels.csv, line 2",)),
    "a suffix in other case": Situation(table("file,label\n0.PNG,a\n"), ("0.PNG: is listed in labels.csv",)),
    "a table of nothing": Situation(table(""), ("labels.csv: is empty",)),
    # Pictures.
    "a page instead of a picture": Situation(beside({"cat/9.jpg": b"<!DOCTYPE html>"}), ("unreadable: 1", "1 of 4")),
    "a file of no bytes": Situation(beside({"cat/9.png": b""}), ("unreadable: 1", "cannot be trained on yet")),
    "a link to nothing": Situation(dead_link, ("1.png: cannot be read (No such file", "cannot be trained on yet")),
    "another format than its name says": Situation(named_as_another_format, ("28x28 RGB, 1 images", READY)),
    "a phone's JPEG with a preview": Situation(with_a_preview, ("28x28 RGB, 1 images", READY)),
    "a drawing": Situation(beside({"cat/a.svg": b"<svg/>"}), ("If you do not miss cat/a.svg",)),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_check_tells_the_truth(tmp_path: Path, name: str) -> None:
    situation = SITUATIONS[name]
    folder = tmp_path / "set"
    folder.mkdir()
    path = situation.make(folder) or folder

    outcome = CliRunner().invoke(cli, ["data", "check", str(path)])
    said = f"{outcome.output}{outcome.exception or ''}"

    for part in situation.said:
        assert part in said
    assert ("Ready" in said) == (READY in situation.said)
    assert (outcome.exit_code == 0) == ("Ready" in said or "\nIf " in said), said
