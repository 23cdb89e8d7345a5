"""Each format as the readers that people use take it, and its bytes."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import artifact, images, marks, networks
from models.manifest import Manifest, read_manifest
from models.sampler import Sampler
from service.export import formats
from service.export.plan import FORMATS
from tests.conftest import TINY, Command
from tests.service.export.conftest import tree

COUNT = 50


@pytest.fixture
def expected(sampler: Sampler) -> tuple[list[Any], NDArray[np.uint8], list[bytes]]:
    """The addresses of the export, their pixels, and the files that the service answers for them."""
    addresses = sampler.manifest.addresses(1, 0, COUNT, "balanced")
    pixels = sampler.mint(addresses)
    return addresses, pixels, [images.encode(p, "image/png", str(a)) for a, p in zip(addresses, pixels)]


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hugging Face datasets, offline, with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    module = pytest.importorskip("datasets")
    module.disable_progress_bars()
    return module


def load(datasets: Any, tmp_path: Path, name: str, **options: Any) -> Any:
    return datasets.load_dataset(name, cache_dir=str(tmp_path / "cache"), split="train", **options)


def test_a_file_is_the_one_that_the_service_answers(export: Command, tmp_path: Path, expected: Any) -> None:
    export(tmp_path / "out", format="imagefolder")

    for address, file in zip(expected[0], expected[2]):
        found = list((tmp_path / "out" / "train").rglob(f"{address.index}.png"))
        assert [path.read_bytes() for path in found] == [file]


def test_imagefolder_has_a_folder_a_class_and_folders_in_it(export: Command, tmp_path: Path) -> None:
    export(tmp_path / "out", format="imagefolder")

    root = tmp_path / "out" / "train"
    assert sorted(p.name for p in root.iterdir()) == ["a", "b", "c"]
    for label, name in enumerate("abc"):
        assert sorted(int(p.stem) for p in (root / name).rglob("*.png")) == list(range(label, COUNT, 3))
        assert sorted(p.name for p in (root / name).iterdir()) == ["00000", "00001", "00002"]


def test_hugging_face_reads_imagefolder(export: Command, tmp_path: Path, datasets: Any, expected: Any) -> None:
    export(tmp_path / "out", format="imagefolder")

    by_name = load(datasets, tmp_path, "imagefolder", data_dir=str(tmp_path / "out"), drop_labels=True)
    by_card = load(datasets, tmp_path, str(tmp_path / "out"))
    for rows in (by_name, by_card):
        found = {row["address"]: row for row in rows}
        assert found.keys() == {str(a) for a in expected[0]}
        for address, pixels in zip(expected[0], expected[1]):
            row = found[str(address)]
            assert (row["label"], row["label_name"]) == (address.label, "abc"[address.label])
            assert (np.asarray(row["image"]) == pixels[..., 0]).all()


def test_hugging_face_reads_parquet_with_features(
    export: Command, tmp_path: Path, datasets: Any, expected: Any
) -> None:
    export(tmp_path / "out", format="parquet")

    files = sorted(map(str, (tmp_path / "out" / "data").glob("*.parquet")))
    for rows in (
        load(datasets, tmp_path, "parquet", data_files=files),
        load(datasets, tmp_path, str(tmp_path / "out")),
    ):
        assert isinstance(rows.features["image"], datasets.Image)
        assert rows.features["label"].names == ["a", "b", "c"]
        assert rows["label"][:] == [a.label for a in expected[0]]
        assert rows["address"][:] == [str(a) for a in expected[0]]
        assert all((np.asarray(row["image"]) == p[..., 0]).all() for row, p in zip(rows, expected[1]))
        raw = rows.cast_column("image", datasets.Image(decode=False))
        assert [row["image"]["bytes"] for row in raw] == expected[2]


def test_hugging_face_reads_webdataset(export: Command, tmp_path: Path, datasets: Any, expected: Any) -> None:
    export(tmp_path / "out")

    rows = load(datasets, tmp_path, str(tmp_path / "out"))
    assert [int(row["cls"]) for row in rows] == [a.label for a in expected[0]]
    assert all((np.asarray(row["png"]) == p[..., 0]).all() for row, p in zip(rows, expected[1]))


def test_a_tar_holds_nothing_of_this_machine_and_moment(export: Command, tmp_path: Path, expected: Any) -> None:
    export(tmp_path / "out")

    seen: dict[str, bytes] = {}
    for path in sorted((tmp_path / "out" / "data").glob("*.tar")):
        with tarfile.open(path) as archive:
            for entry in archive:
                assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, 0, "", "")
                assert entry.isreg() and entry.mode == 0o644
                content = archive.extractfile(entry)
                assert content
                seen[entry.name] = content.read()
    assert len(seen) == 3 * COUNT
    for address, file in zip(expected[0], expected[2]):
        key = f"{address.index:012d}"
        assert seen[f"{key}.png"] == file and seen[f"{key}.cls"] == str(address.label).encode()
        assert json.loads(seen[f"{key}.json"])["address"] == str(address)


def test_npz_is_what_numpy_loads(export: Command, tmp_path: Path, expected: Any) -> None:
    export(tmp_path / "out", format="npz")

    shards = [np.load(path) for path in sorted((tmp_path / "out" / "data").glob("*.npz"))]
    joined = {name: np.concatenate([s[name] for s in shards]) for name in ("images", "labels", "addresses")}
    for shard in shards:
        assert list(shard["label_names"]) == ["a", "b", "c"]
        shard.close()
    assert (joined["images"] == expected[1]).all() and joined["images"].shape == (COUNT, 8, 8, 1)
    assert joined["labels"].tolist() == [a.label for a in expected[0]]
    assert joined["addresses"].tolist() == [str(a) for a in expected[0]]


def mnist(folder: Path, kind: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The loader that everybody writes (it ships with Fashion-MNIST as utils/mnist_reader.py)."""
    with gzip.open(folder / f"{kind}-labels-idx1-ubyte.gz", "rb") as file:
        labels = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    with gzip.open(folder / f"{kind}-images-idx3-ubyte.gz", "rb") as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(len(labels), -1), labels


@pytest.mark.parametrize(("split", "kind"), [("train", "train"), ("test", "t10k")])
def test_idx_is_mnist(split: str, kind: str, export: Command, tmp_path: Path, expected: Any) -> None:
    export(tmp_path / "out", "--split", split, format="idx")

    pixels, labels = mnist(tmp_path / "out", kind)
    assert (pixels == expected[1].reshape(COUNT, -1)).all()
    assert labels.tolist() == [a.label for a in expected[0]]
    for name in (f"{kind}-images-idx3-ubyte", f"{kind}-labels-idx1-ubyte"):
        packed = (tmp_path / "out" / f"{name}.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / "out" / name).read_bytes()
        # RFC 1952: no name, no time.
        assert packed[3] == 0 and packed[4:8] == bytes(4)


def test_the_card_says_how_to_read_idx(export: Command, tmp_path: Path, expected: Any) -> None:
    export(tmp_path / "out", format="idx")
    readme = (tmp_path / "out" / "README.md").read_text()
    first, second, *_ = readme.partition("```python\n")[2].replace("FOLDER", str(tmp_path / "out")).splitlines()

    names = {"gzip": gzip, "numpy": np}
    exec(first, names)
    with names["file"]:  # type: ignore[attr-defined]
        assert (eval(second, names) == expected[1][..., 0]).all()


@pytest.mark.parametrize("kind", ["train", "t10k"])
def test_two_idx_exports_have_what_torchvision_looks_for(
    kind: str, export: Command, tmp_path: Path, expected: Any
) -> None:
    """As torchvision/datasets/mnist.py: all four files, plain, in ROOT/MNIST/raw; sizes are big-endian."""
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "test"):
        export(tmp_path / split, "--split", split, format="idx")
        for file in (tmp_path / split).glob("*-ubyte"):
            shutil.copy(file, raw)

    assert len(list(raw.iterdir())) == 4
    for part, pixels in (("images-idx3", expected[1][..., 0]), ("labels-idx1", [a.label for a in expected[0]])):
        data = (raw / f"{kind}-{part}-ubyte").read_bytes()
        num_dims, kind_of_values = data[3], data[2]
        shape = np.frombuffer(data, ">u4", num_dims, offset=4)
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * num_dims).reshape(shape)
        assert kind_of_values == 8 and np.array_equal(values, pixels)


@pytest.mark.parametrize("format", FORMATS)
def test_bytes_do_not_depend_on_the_moment_or_the_place(
    format: str, export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(tmp_path / "a", format=format).code == 0
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert export(tmp_path / "elsewhere" / "b", format=format).code == 0

    assert tree(tmp_path / "a") == tree(tmp_path / "elsewhere" / "b")


@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_other_picture_files_go_into_every_container(image_format: str, export: Command, tmp_path: Path) -> None:
    for format in ("imagefolder", "webdataset", "parquet"):
        out = tmp_path / f"{format}-{image_format}"
        assert export(out, "--image-format", image_format, format=format).code == 0
    picture = next((tmp_path / f"imagefolder-{image_format}").rglob(f"0.{image_format}"))
    with Image.open(io.BytesIO(picture.read_bytes())) as opened:
        assert Image.MIME[opened.format or ""] == images.EXTENSIONS[image_format]
    assert marks.read_address(picture.read_bytes()) == "tiny/1.0.0/1/0?label=0"


@pytest.mark.parametrize(
    ("labels", "folders"),
    [
        (("0", "1", "2"), ["0", "1", "2"]),
        (("cat", "dog"), ["cat", "dog"]),
        (("dog", "cat"), ["000-dog", "001-cat"]),
        (tuple(map(str, range(11))), [f"{k:03d}-{k}" for k in range(11)]),
        (("../up", "a/b", ""), ["000-up", "001-a-b", "002"]),
    ],
)
def test_class_folders_sort_in_label_order_and_are_safe(
    labels: tuple[str, ...], folders: list[str], tiny_manifest: Manifest
) -> None:
    made = formats.class_folders(tiny_manifest.model_copy(update={"class_names": labels}))
    assert made == folders == sorted(made)


def test_a_model_without_classes_is_exported(tiny_manifest: Manifest, tmp_path: Path, command: Command) -> None:
    config = TINY.model_copy(update={"num_classes": 0})
    fields = {"name": "plain", "class_names": (), "network": config.model_dump(mode="json")}
    plain_manifest = tiny_manifest.model_copy(update=fields)
    artifact.export(networks.build_generator(config), plain_manifest, tmp_path / "plain", batch_size=4)
    assert command("models", "install", str(tmp_path / "plain")).code == 0

    for format in ("imagefolder", "webdataset", "parquet", "npz"):
        out = str(tmp_path / format)
        arguments = ("--count", "9", "--shard-size", "5", "--device", "cpu", "--format", format, "--out", out)
        assert command("export", "plain", *arguments).code == 0
        assert command("dataset", "verify", out, "--device", "cpu").code == 0
    assert sorted(p.name for p in (tmp_path / "imagefolder" / "train").iterdir()) == ["00000", "00001"]
    assert read_manifest(tmp_path / "plain").class_names == ()
