"""Our own exports as data, in each format, and data sets in shards from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import artifact, store
from models.sampler import Sampler
from service.export.plan import FORMATS
from tests.conftest import Command
from tests.training.data.samples import load_error, png, random_pixels, write_image, write_npz, write_tar, write_zip
from training.data.decoding import Decoding, Size
from training.data.inspection import inspect_dataset
from training.data.labels import LabelColumn
from training.data.layout import may_matter
from training.data.loader import load_dataset, load_test_images

COUNT = 30


@pytest.fixture(scope="module")
def sampler(tiny_artifact: Path) -> Sampler:
    return artifact.load(tiny_artifact)


@pytest.fixture
def exports(store_home: Path, tiny_artifact: Path, command: Command, tmp_path: Path) -> dict[str, Path]:
    """The same 30 images of classes a, b and c, in shards of 12, in each format."""
    store.install(tiny_artifact)
    options = ("--labels", "balanced", "--seed", "1", "--device", "cpu", "--count", str(COUNT), "--shard-size", "12")
    for name in FORMATS:
        assert command("export", "tiny", *options, "--format", name, "--out", str(tmp_path / name)).code == 0
    return {name: tmp_path / name for name in FORMATS}


def test_every_export_is_data(exports: dict[str, Path], sampler: Sampler) -> None:
    addresses = sampler.manifest.addresses(1, 0, COUNT, "balanced")
    pixels = sampler.mint(addresses)
    digests = set()
    for name, path in exports.items():
        dataset = load_dataset(path)
        expected = {(image.tobytes(), address.label) for image, address in zip(pixels, addresses)}
        assert dataset.labels is not None
        assert {(image.tobytes(), label) for image, label in zip(dataset.images, dataset.labels)} == expected, name
        assert dataset.class_names == (("0", "1", "2") if name == "idx" else ("a", "b", "c")), name
        assert not any(map(may_matter, dataset.unused)), name
        assert inspect_dataset(path).report.obstacles == [], name
        assert np.array_equal(dataset.images, pixels), name
        # It has no names of classes.
        if name != "idx":
            digests.add(dataset.digest)
    assert len(digests) == 1
    archive = write_zip(exports["imagefolder"], exports["imagefolder"].with_suffix(".zip"))
    assert {load_dataset(archive).digest, load_dataset(exports["imagefolder"] / "train").digest} == digests


@pytest.mark.parametrize(("folder", "table"), [("00000", "metadata.jsonl"), ("cat", "cat/metadata.jsonl")])
def test_other_folders_are_sorted_as_text(tmp_path: Path, folder: str, table: str) -> None:
    for number in (10, 9):
        write_image(tmp_path / "set" / folder / f"{number}.png", random_pixels(number, 16, 16))
    rows = (
        json.dumps({"file_name": f"{folder}/{number}.png".removeprefix(table.rpartition("/")[0] + "/")})
        for number in (9, 10)
    )
    (tmp_path / "set" / table).write_text("\n".join(rows))

    images = load_dataset(tmp_path / "set").images

    assert np.array_equal(images[..., 0], [random_pixels(10, 16, 16), random_pixels(9, 16, 16)])


def write_parquet(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path.parent.mkdir(exist_ok=True)
    table = pa.table(columns)
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    parquet.write_table(table, path, row_group_size=2)
    return path


def test_a_webdataset_from_elsewhere_is_read(tmp_path: Path) -> None:
    members = {"a/0001.png": png(1), "a/0001.cls": b"7", "a/0002.png": png(2), "a/0002.cls": b"10", "notes.txt": b"x"}
    path = write_tar(tmp_path / "set.tar", members)
    dataset = load_dataset(path)
    assert dataset.class_names == ("7", "10") and dataset.unused == ("notes.txt",)
    assert np.array_equal(dataset.images[1, ..., 0], random_pixels(2, 5, 4))


def test_columns_of_json_in_a_tar_make_the_label(tmp_path: Path) -> None:
    members = {
        f"{k}.{kind}": content for k in (1, 2) for kind, content in (("png", png(k)), ("json", b'{"hair": "red"}'))
    }
    dataset = load_dataset(write_tar(tmp_path / "set.tar", members), (LabelColumn(column="hair"),))
    assert dataset.class_names == ("red",)


def test_parquet_of_hugging_face_is_read_with_its_splits(tmp_path: Path) -> None:
    for name, seeds, labels in (
        ("train-00000-of-00002", (0, 1, 2), (2, 0, 2)),
        ("train-00001-of-00002", (3,), (0,)),
        ("test-00000-of-00001", (4,), (2,)),
    ):
        columns = {
            "image": [{"bytes": png(s), "path": None} for s in seeds],
            "label": list(labels),
            "text": ["x"] * len(seeds),
        }
        write_parquet(tmp_path / "set" / f"{name}.parquet", columns, ["cat", "dog", "emu"])

    dataset, test = load_dataset(tmp_path / "set"), load_test_images(tmp_path / "set")

    assert dataset.class_names == ("cat", "emu") and dataset.unused == ("column text",)
    assert dataset.labels is not None and dataset.labels.tolist() == [1, 0, 1, 0]
    assert test is not None and test.class_names == ("emu",)
    assert np.array_equal(dataset.images[..., 0], np.stack([random_pixels(k, 5, 4) for k in range(4)]))
    assert load_dataset(tmp_path / "set", (LabelColumn(column="text"),)).unused == ()


def test_npz_files_in_a_folder_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for k, labels in enumerate(([5, 1], [3, 3])):
        write_npz(tmp_path / "set" / f"{k}.npz", images=random_pixels(k, 2, 5, 4), labels=labels)
    dataset = load_dataset(tmp_path / "set")
    assert dataset.class_names == ("1", "3", "5")
    assert dataset.labels is not None and dataset.labels.tolist() == [2, 0, 1, 1]


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    bad = write_tar(tmp_path / "set" / "a.tar", {"1.png": b"no picture"})
    assert load_error(tmp_path / "set").path == bad / "1.png"
    for name in ("b.tar", "b.parquet"):
        (tmp_path / name).write_bytes(b"hello" * 200)
        assert load_error(tmp_path / name).path == tmp_path / name


def test_pictures_beside_shards_are_read_and_the_shards_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "set" / "a.tar", {"1.png": png(1)})
    (tmp_path / "set" / "1.png").write_bytes(png(1))
    assert load_dataset(tmp_path / "set").unused == ("a.tar",)


def test_pictures_in_shards_are_fitted_and_damaged_ones_skipped(tmp_path: Path) -> None:
    contents = {"1": (png(1), b"7"), "2": (b"no picture", b"8"), "3": (png(3), b"9")}
    members = {f"{k}.{kind}": part for k, parts in contents.items() for kind, part in zip(("png", "cls"), parts)}

    dataset = load_dataset(write_tar(tmp_path / "set.tar", members), decoding=Decoding(Size(16, 20), skip_damaged=True))

    assert dataset.images.shape == (2, 20, 16, 1)
    assert dataset.class_names == ("7", "9") and dataset.skipped == ("2.png",)
    assert dataset.labels is not None and dataset.labels.tolist() == [0, 1]
    assert dataset.origins is not None and dataset.origins.names == ("1.png", "3.png")


def test_npz_files_in_a_folder_are_fitted_as_one_file_is(tmp_path: Path) -> None:
    pixels, decoding = random_pixels(1, 4, 20, 24, 3), Decoding(Size(16, 16))
    (tmp_path / "set").mkdir()
    for k in range(2):
        write_npz(tmp_path / "set" / f"{k}.npz", images=pixels[2 * k : 2 * k + 2])
    whole = load_dataset(write_npz(tmp_path / "set.npz", images=pixels), decoding=decoding)

    assert load_dataset(tmp_path / "set", decoding=decoding).digest == whole.digest
    assert whole.images.shape == (4, 16, 16, 3)
