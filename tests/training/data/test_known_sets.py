"""CIFAR, STL-10, downsampled ImageNet and Hugging Face's folders give what the same pictures in a folder give."""

from __future__ import annotations

import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import DataError
from tests.training.data.samples import FINE, Made, load_error, random_pixels, write_npz, write_zip
from training.data import allocation
from training.data.dataset import Dataset
from training.data.inspection import inspect_dataset
from training.data.labels import LabelColumn
from training.data.layout import may_matter
from training.data.loader import load_dataset, load_test_images

COUNT, TEST_COUNT = 200, 20
COARSE = ("wild", "tame")


def batches(made: Made, num: int) -> list[slice]:
    size = len(made.images) // num
    return [slice(k * size, (k + 1) * size) for k in range(num)]


def write_cifar10(folder: Path, made: Made, test: Made, is_binary: bool, protocol: int = 2) -> None:
    folder.mkdir()
    parts = {f"data_batch_{k}": (made, rows) for k, rows in enumerate(batches(made, 5), start=1)}
    for name, (one, rows) in {**parts, "test_batch": (test, slice(None))}.items():
        if is_binary:
            records = np.concatenate([one.numbers[rows, None].astype(np.uint8), one.planes[rows]], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        else:
            batch = {b"data": np.ascontiguousarray(one.planes[rows]), b"labels": one.numbers[rows].tolist()}
            (folder / name).write_bytes(pickle.dumps({b"batch_label": b"x", **batch}, protocol))
    if is_binary:
        (folder / "batches.meta.txt").write_text("\n".join(made.names) + "\n\n")
    else:
        meta = {b"label_names": [name.encode() for name in made.names], b"num_vis": 3072}
        (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol))
    (folder / "readme.html").write_text("x")


def write_cifar100(folder: Path, made: Made, test: Made, is_binary: bool) -> None:
    folder.mkdir()
    for name, one in (("train", made), ("test", test)):
        coarse = (one.numbers > 0).astype(np.uint8)
        if is_binary:
            heads = np.stack([coarse, one.numbers.astype(np.uint8)], axis=1)
            (folder / f"{name}.bin").write_bytes(np.concatenate([heads, one.planes], axis=1).tobytes())
        else:
            labels = {b"fine_labels": one.numbers.tolist(), b"coarse_labels": coarse.tolist()}
            (folder / name).write_bytes(pickle.dumps({b"data": one.planes, **labels}, 2))
    if is_binary:
        (folder / "fine_label_names.txt").write_text("\n".join(FINE))
        (folder / "coarse_label_names.txt").write_text("\n".join(COARSE))
    else:
        names = {b"fine_label_names": list(FINE), b"coarse_label_names": list(COARSE)}
        (folder / "meta").write_bytes(pickle.dumps(names, 2))


def write_stl10(folder: Path, made: Made, test: Made) -> None:
    folder.mkdir()
    for name, one in (("train", made), ("test", test)):
        # Column by column.
        (folder / f"{name}_X.bin").write_bytes(one.images.transpose(0, 3, 2, 1).tobytes())
        (folder / f"{name}_y.bin").write_bytes((one.numbers + 1).astype(np.uint8).tobytes())
    (folder / "class_names.txt").write_text("\n".join(made.names))


def pack(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder, folder.name)
    return path


def assert_equal(dataset: Dataset | None, digest: str) -> None:
    assert dataset is not None and dataset.digest == digest
    assert not any(map(may_matter, dataset.unused))


CIFAR: dict[str, Callable[[Path, Made, Made], None]] = {
    "cifar-10-batches-bin": lambda folder, made, test: write_cifar10(folder, made, test, True),
    "cifar-10-batches-py": lambda folder, made, test: write_cifar10(folder, made, test, False),
    "cifar-10-python-3": lambda folder, made, test: write_cifar10(folder, made, test, False, protocol=5),
    "cifar-100-binary": lambda folder, made, test: write_cifar100(folder, made, test, True),
    "cifar-100-python": lambda folder, made, test: write_cifar100(folder, made, test, False),
    "stl10_binary": write_stl10,
}


@pytest.mark.parametrize("name", CIFAR)
def test_published_files_give_what_their_pictures_give(tmp_path: Path, name: str) -> None:
    side = 96 if "stl" in name else 32
    made, test = Made(1, COUNT, side), Made(2, TEST_COUNT, side)
    CIFAR[name](tmp_path / name, made, test)
    expected = made.folder_digest(tmp_path / "pictures"), test.folder_digest(tmp_path / "test")

    assert load_dataset(tmp_path / name).digest == expected[0]
    for path in (pack(tmp_path / name, tmp_path / "set.tar.gz"), write_zip(tmp_path / name, tmp_path / "set.zip")):
        assert load_dataset(path).digest == expected[0]
        test_images = load_test_images(path)
        assert test_images is not None and test_images.digest == expected[1]
    report = inspect_dataset(tmp_path / name).report
    assert (report.num_images, report.num_test_images, report.obstacles) == (COUNT, TEST_COUNT, [])
    assert list(report.classes) == list(FINE)
    assert not [file for file in report.unused if may_matter(file) and file != "column coarse_label"]


@pytest.mark.parametrize("is_binary", [True, False])
def test_coarse_labels_of_cifar_100_are_a_column(tmp_path: Path, is_binary: bool) -> None:
    made = Made(1, 20, 32)
    write_cifar100(tmp_path / "set", made, made, is_binary)
    assert load_dataset(tmp_path / "set").unused == ("column coarse_label",)
    coarse = load_dataset(tmp_path / "set", (LabelColumn(column="coarse_label"),))
    # In the order of their numbers, as the names are written in the set.
    assert coarse.class_names == COARSE and coarse.unused == ("column label",)
    assert coarse.labels is not None and coarse.labels.tolist() == (made.numbers > 0).tolist()


def test_stl_10_without_labels_has_all_its_images(tmp_path: Path) -> None:
    made, test, others = Made(1, 6, 96), Made(2, 3, 96), Made(3, 4, 96)
    write_stl10(tmp_path / "set", made, test)
    (tmp_path / "set" / "unlabeled_X.bin").write_bytes(others.images.transpose(0, 3, 2, 1).tobytes())

    assert load_dataset(tmp_path / "set").unused == ("unlabeled_X.bin",)
    dataset = load_dataset(tmp_path / "set", unlabelled=True)
    assert np.array_equal(dataset.images, np.concatenate([made.images, others.images]))
    assert (dataset.labels, dataset.unused) == (None, ())

    for file in (tmp_path / "set").glob("*rain*"):
        file.unlink()
    assert np.array_equal(load_dataset(tmp_path / "set").images, others.images)


@pytest.mark.parametrize("compressed", [True, False])
def test_downsampled_imagenet_gives_what_its_pictures_give(tmp_path: Path, compressed: bool) -> None:
    made, test = Made(1, COUNT, 64, ("1", "2", "10")), Made(2, TEST_COUNT, 64, ("1", "2", "10"))
    (tmp_path / "set").mkdir()
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    for name, one, rows in (
        ("train_data_batch_1", made, slice(0, 150)),
        ("train_data_batch_2", made, slice(150, None)),
        ("val_data", test, slice(None)),
    ):
        labels = [int(made.names[k]) for k in one.numbers[rows]]
        save(tmp_path / "set" / f"{name}.npz", data=one.planes[rows], labels=labels, mean=np.zeros(3 * 64 * 64))
    assert_equal(load_dataset(tmp_path / "set"), made.folder_digest(tmp_path / "pictures"))
    assert_equal(load_test_images(tmp_path / "set"), test.folder_digest(tmp_path / "test"))


@pytest.mark.parametrize("compressed", [True, False])
def test_the_memory_for_a_large_npz_does_not_grow_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    monkeypatch.setattr(allocation, "MAPPED_ABOVE_BYTES", 0)
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    peaks = []
    for count in (3000, 9000):
        save(tmp_path / f"{count}.npz", data=np.zeros((count, 3 * 32 * 32), np.uint8), labels=np.ones(count, int))
        tracemalloc.start()
        load_dataset(tmp_path / f"{count}.npz")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # An array in memory would take 6,000 images more.
    assert peaks[1] - peaks[0] < 1000 * 3 * 32 * 32


def test_planes_of_no_square_are_refused(tmp_path: Path) -> None:
    error = load_error(write_npz(tmp_path / "set.npz", data=random_pixels(1, 5, 3 * 60)))
    assert "(N, 3 * side * side)" in error.reason


def hugging_face(made: Made, labels: bool = True) -> Any:
    datasets = pytest.importorskip("datasets")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(made.names))}
    from PIL import Image

    columns = {"image": [Image.fromarray(one) for one in made.images], "label": made.numbers.tolist()}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_hugging_face_sets_give_what_their_pictures_give(tmp_path: Path, kind: str) -> None:
    made, test = Made(1, COUNT, 8), Made(2, TEST_COUNT, 8)
    datasets = pytest.importorskip("datasets")
    splits = datasets.DatasetDict({"train": hugging_face(made), "test": hugging_face(test)})
    if kind == "folder":
        splits.save_to_disk(tmp_path / "set", num_shards={"train": 3, "test": 1})
        # What an operation on the set leaves beside it.
        (tmp_path / "set" / "train" / "cache-1a2b.arrow").write_bytes(b"x")
    else:
        for name, one in splits.items():
            (tmp_path / "set" / "data" / name).mkdir(parents=True)
            one.to_parquet(tmp_path / "set" / "data" / name / "0000.parquet")
    expected = made.folder_digest(tmp_path / "pictures")

    assert_equal(load_dataset(tmp_path / "set"), expected)
    assert_equal(load_test_images(tmp_path / "set"), test.folder_digest(tmp_path / "test"))


def test_a_missing_arrow_file_is_named(tmp_path: Path) -> None:
    hugging_face(Made(1, 9, 8)).save_to_disk(tmp_path / "set", num_shards=3)
    (tmp_path / "set" / "data-00001-of-00003.arrow").unlink()
    error = load_error(tmp_path / "set")
    assert error.path == tmp_path / "set" / "data-00001-of-00003.arrow" and "is missing" in error.reason


def test_classes_of_a_chosen_column_have_their_declared_names(tmp_path: Path) -> None:
    made = Made(1, 9, 8, ("wolf", "ape"))
    hugging_face(made).rename_column("label", "animal").save_to_disk(tmp_path / "set")
    dataset = load_dataset(tmp_path / "set", (LabelColumn(column="animal"),))
    assert dataset.class_names == ("wolf", "ape") and "column animal" not in dataset.unused


# Damage and hostility


class Hostile:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (pickle.dumps({b"data": Hostile(eval, "open('/tmp/x', 'w')")}, 2), "__builtin__.eval"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr"),
        (b"\x80\x02cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
    ],
)
def test_a_hostile_pickle_is_refused_by_name(tmp_path: Path, content: bytes, name: str) -> None:
    write_cifar10(tmp_path / "set", Made(1, 10, 32), Made(2, 5, 32), False)
    (tmp_path / "set" / "data_batch_3").write_bytes(content)
    error = load_error(tmp_path / "set")
    assert error.path == tmp_path / "set" / "data_batch_3" and name in error.reason


def array_pickle(**changes: Any) -> bytes:
    """A batch whose array has a state that numpy never writes."""
    state = {"shape": (1, 3072), "type": "u1", "order": "|", "content": bytes(3072), **changes}
    parts = (state["shape"], state["type"], state["order"], state["content"])
    shape, kind, order, values = (pickle.dumps(part, 2)[2:-1] for part in parts)
    dtype = b"cnumpy\ndtype\n(" + kind + b"I0\nI1\ntR(I3\n" + order + b"NNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
    return b"\x80\x02(S'data'\n" + array + shape + dtype + b"I00\n" + values + b"tbS'labels'\n(I1\nld."


@pytest.mark.parametrize(
    "content",
    [
        array_pickle(shape=(1 << 40, 3072)),
        array_pickle(shape=(-1, 3072)),
        array_pickle(type="O8"),
        array_pickle(type="V3072"),
        array_pickle(order=")"),
        array_pickle(content=[1, 2]),
        array_pickle()[:-40],
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02]q\x00h\x00a.",
        b"no pickle",
        b"",
    ],
)
def test_a_damaged_pickle_is_named(tmp_path: Path, content: bytes) -> None:
    write_cifar10(tmp_path / "set", Made(1, 10, 32), Made(2, 5, 32), False)
    (tmp_path / "set" / "data_batch_1").write_bytes(content)
    assert load_error(tmp_path / "set").path == tmp_path / "set" / "data_batch_1"


def test_the_array_of_that_pickle_is_read_if_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data_batch_1").write_bytes(array_pickle())
    assert load_dataset(tmp_path / "set").class_names == ("1",)


@pytest.mark.parametrize("name", ["data_batch_2.bin", "data_batch_5.bin"])
def test_a_binary_batch_that_is_missing_or_cut_is_named(tmp_path: Path, name: str) -> None:
    write_cifar10(tmp_path / "set", Made(1, 10, 32), Made(2, 5, 32), True)
    batch = tmp_path / "set" / name
    content = batch.read_bytes()
    for damage in (content[:-1], b"") + (() if "5" in name else (None,)):
        batch.unlink() if damage is None else batch.write_bytes(damage)
        with pytest.raises(DataError) as caught:
            load_dataset(tmp_path / "set")
        assert caught.value.path == batch
