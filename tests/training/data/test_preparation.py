"""A set that `data prepare` writes is what training would have read, and says what came from where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from tests.training.data.samples import are_equal, class_folder, random_pixels, write_image, write_mnist, write_npz
from training.data import preparation
from training.data.decoding import Decoding, Size
from training.data.labels import LabelColumn
from training.data.loader import load_dataset, load_test_images
from training.data.preparation import write_prepared

TO_16 = Decoding(Size(16, 16))


def prepare(*arguments: Path | str) -> tuple[int, str, str]:
    """Run `ganmint data prepare` to 16 pixels; return its exit code, output and error."""
    outcome = CliRunner().invoke(cli, ["data", "prepare", *map(str, arguments), "--size", "16"])
    return outcome.exit_code, outcome.output, str(outcome.exception or "")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def with_csv(folder: Path) -> Path:
    for k, name in enumerate("abab"):
        write_image(folder / f"{k}.png", random_pixels(k, 20, 17 + k, 3))
        with (folder / "labels.csv").open("a") as file:
            file.write(f"{k}.png,{name}\n" if k else f"file,kind\n{k}.png,{name}\n")
    return folder


def test_the_digest_is_that_of_a_training_with_the_same_settings(tmp_path: Path) -> None:
    grey = write_npz(tmp_path / "grey.npz", images=np.stack([random_pixels(k, 18, 17) for k in range(1001)]))
    kinds: dict[Path, list[LabelColumn]] = {
        class_folder(tmp_path / "classes"): [],
        # The second class comes first.
        with_csv(tmp_path / "csv"): [LabelColumn(column="kind", names={"b": "zebra", "a": "ant"})],
        grey: [],
    }
    for source, columns in kinds.items():
        dataset = load_dataset(source, columns, decoding=TO_16)
        write_prepared(tmp_path / "out" / source.stem, dataset)
        prepared = load_dataset(tmp_path / "out" / source.stem)
        assert are_equal(prepared, dataset), source
        assert prepared.unused == ()
    assert sorted(path.name for path in (tmp_path / "out" / "grey").iterdir()) == ["00000", "00001", "metadata.jsonl"]
    assert (tmp_path / "out" / "grey" / "00001" / "img00001000.png").is_file()


def test_every_image_says_its_class_its_source_and_the_box_that_was_used(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "cat" / "a.png", random_pixels(1, 40, 32, 3))
    write_image(tmp_path / "set" / "dog" / "b.jpg", random_pixels(2, 32, 48, 3))

    code, output, _ = prepare(tmp_path / "set", tmp_path / "out")

    assert code == 0
    assert read_rows(tmp_path / "out") == [
        {
            "file_name": "00000/img00000000.png",
            "label": 0,
            "label_name": "cat",
            "source": "cat/a.png",
            "box": [0, 4, 32, 36],
        },
        {
            "file_name": "00000/img00000001.png",
            "label": 1,
            "label_name": "dog",
            "source": "dog/b.jpg",
            "box": [8, 0, 40, 32],
        },
    ]
    digest = load_dataset(tmp_path / "set", decoding=TO_16).digest
    assert f"{tmp_path / 'out'}: 2 images of 16, sha256 {digest[:12]}\n" in output
    assert output.endswith(f"Next: ganmint train --data {tmp_path / 'out'} --out runs/mine\n")


def test_arrays_that_have_the_size_already_are_numbered(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "set.npz", images=random_pixels(1, 2, 16, 16, 3))

    assert prepare(source, tmp_path / "out")[0] == 0

    assert [(row["source"], row["box"], row["label"]) for row in read_rows(tmp_path / "out")] == [
        ("image 0", [0, 0, 16, 16], None),
        ("image 1", [0, 0, 16, 16], None),
    ]


def test_test_images_stay_a_split(tmp_path: Path) -> None:
    write_mnist(tmp_path / "set", split="train")
    # Without class 2, which training has.
    write_mnist(tmp_path / "set", count=2, split="t10k")

    code, output, _ = prepare(tmp_path / "set", tmp_path / "out")

    assert code == 0 and "test: 2 images more\n" in output
    for load in (load_dataset, load_test_images):
        prepared, source = load(tmp_path / "out"), load(tmp_path / "set", decoding=TO_16)
        assert prepared and source and prepared.digest == source.digest
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test", "train"]


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        class_folder(tmp_path / "set" / split)
        (tmp_path / "set" / split / "cat" / "1.png").write_bytes(b"no picture")
    (tmp_path / "set" / "notes.txt").touch()

    code, _, error = prepare(tmp_path / "set", tmp_path / "out")
    assert code == 1 and "train/cat/1.png" in error
    assert not (tmp_path / "out").exists()

    code, output, _ = prepare(tmp_path / "set", tmp_path / "out", "--skip-damaged")
    assert code == 0
    assert "not used: notes.txt\n" in output and "skipped: 1 damaged: train/cat/1.png\n" in output
    assert "test: 3 images more; skipped: 1 damaged: test/cat/1.png\n" in output


@pytest.mark.parametrize("name", ["full", "file", "set/inside", "set"])
def test_a_destination_with_something_in_it_is_refused(tmp_path: Path, name: str) -> None:
    class_folder(tmp_path / "set")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    (tmp_path / "file").write_text("kept")
    before = sorted(tmp_path.rglob("*"))

    code, _, error = prepare(tmp_path / "set", tmp_path / name)

    assert code == 1 and error.startswith(str(tmp_path / name)) and "DEST" in error
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_destination_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare(class_folder(tmp_path / "set"), tmp_path / "out")[0] == 0
    assert len(load_dataset(tmp_path / "out")) == 4
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_nothing_is_left_of_a_set_that_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, encoded = preparation.encode_plain_png, []

    def fill_the_disk(pixels: Any) -> bytes:
        encoded.append(encode(pixels))
        if len(encoded) == 3:
            raise OSError(28, "No space left on device")
        return encoded[-1]

    monkeypatch.setattr(preparation, "encode_plain_png", fill_the_disk)

    code, _, error = prepare(class_folder(tmp_path / "set"), tmp_path / "out")

    assert code == 1 and "cannot be written: No space left on device" in error
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
