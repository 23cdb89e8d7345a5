"""The face of an export, and the proof that it is what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.files import sha256
from models.sampler import Sampler
from service.export import finish as finishing
from service.export import state
from service.export.plan import FORMATS
from service.export.target import Target
from tests.conftest import Command
from tests.service.export.conftest import tree

# mlcroissant's own, in what it calls.
RDFLIB = pytest.mark.filterwarnings("ignore::DeprecationWarning:rdflib", "ignore::DeprecationWarning:mlcroissant")


@pytest.mark.parametrize("format", FORMATS)
def test_the_manifest_has_every_files_digest_and_the_job(format: str, export: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, format=format)

    written = json.loads((out / "manifest.json").read_text())
    assert (written["images"], written["synthetic"], written["job"]["seed"]) == (50, True, 1)
    assert [row["images"] for row in written["labels"]] == [17, 17, 16]
    assert [(s["first"], s["count"]) for s in written["shards"]] == [(0, 20), (20, 20), (40, 10)]
    for name, part in written["files"].items():
        if name.endswith("/"):
            inside = sorted((out / name).iterdir())
            assert (part["files"], part["bytes"]) == (len(inside), sum(p.stat().st_size for p in inside))
        else:
            assert (sha256(out / name), (out / name).stat().st_size) == (part["sha256"], part["bytes"])
    data = {name for name in tree(out) if not name.startswith(".ganmint/")} - {
        "README.md",
        "croissant.json",
        "manifest.json",
    }
    assert all(name in written["files"] or f"{Path(name).parent}/" in written["files"] for name in data)


@RDFLIB
@pytest.mark.parametrize("format", FORMATS)
def test_croissant_is_valid(format: str, export: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    export(tmp_path / "out", format=format)

    described = mlcroissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json"))

    assert not described.metadata.ctx.issues.errors
    assert "not standard" not in caplog.text
    assert described.metadata.name == "tiny-1-0-0-seed1"


@RDFLIB
def test_croissant_reads_the_records_of_parquet(export: Command, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    export(tmp_path / "out", format="parquet")

    records = list(mlcroissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json")).records("records"))

    assert len(records) == 50
    assert {record["records/address"].decode() for record in records} == {
        f"tiny/1.0.0/1/{k}?label={k % 3}" for k in range(50)
    }


@pytest.mark.parametrize("format", FORMATS)
def test_the_card_has_front_matter_and_says_where_the_data_comes_from(
    format: str, export: Command, tmp_path: Path
) -> None:
    export(tmp_path / "out", format=format)

    _, front, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    fields: dict[str, Any] = yaml.safe_load(front)
    assert "synthetic" in fields["tags"] and fields["license_name"] == "CC0-1.0"
    assert fields["size_categories"] == ["n<1K"]
    assert "50 synthetic images (8x8, grey) minted by the generator tiny 1.0.0 from seed 1" in text
    assert "| 2 | c | 16 |" in text and "ganmint export tiny/1.0.0 --count 50" in text


@pytest.mark.parametrize("format", FORMATS)
def test_every_image_verifies(format: str, export: Command, command: Command, tmp_path: Path) -> None:
    export(tmp_path / "out", "--psi", "0.7", "--index", "11", format=format)

    all_of_them = command("dataset", "verify", str(tmp_path / "out"), "--device", "cpu")
    some = command("dataset", "verify", str(tmp_path / "out"), "--sample", "7", "--device", "cpu")

    assert "50 images minted again: 50 are the same byte for byte" in all_of_them.output
    assert "7 images minted again: 7 are the same byte for byte" in some.output


@pytest.mark.parametrize("format", FORMATS)
def test_a_sample_finds_a_changed_byte_anywhere(format: str, export: Command, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, format=format)
    parts = json.loads((out / "manifest.json").read_text())["files"]
    name = max(parts)
    path = max((out / name).iterdir()) if name.endswith("/") else out / name
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))

    found = command("dataset", "verify", str(out), "--sample", "1", "--device", "cpu")

    assert found.code == 1
    assert f"Error: {out}/{name}: has changed: its sha256 is not the one that was recorded" in found.errors
    assert f"run ganmint dataset finish {out}, then the export again" in found.errors


def test_verify_compares_sizes_when_told_not_to_read_the_files(
    export: Command, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(out, format="npz")
    arguments = ("dataset", "verify", str(out), "--sample", "1", "--no-digests", "--device", "cpu")
    whole = command(*arguments)
    path = max((out / "data").iterdir())
    path.write_bytes(path.read_bytes() + b"0")
    longer = command(*arguments)

    assert whole.code == 0 and "3 files checked: the sizes that were recorded" in whole.output
    assert longer.code == 1 and f"{path}: has 1 file(s) of {path.stat().st_size} bytes instead of" in longer.errors


def record_digests_again(out: Path) -> None:
    """Make a change look intended, so that only minting again finds it."""
    target = Target(str(out))
    spec = state.read_context(target).spec
    for commit in state.read_commits(target, spec, spec.shards()).values():
        parts = {name: part for name in commit.parts if (part := target.digest(name))}
        state.write_commit(target, commit.model_copy(update={"parts": parts}))
    (out / "manifest.json").unlink()


@pytest.mark.parametrize("format", ["npz", "idx"])
def test_a_changed_byte_of_an_image_is_found(
    format: str, export: Command, command: Command, tmp_path: Path, sampler: Sampler
) -> None:
    out = tmp_path / "out"
    export(out, format=format)
    pixels = sampler.mint(sampler.manifest.addresses(1, 3, 1, "balanced"))
    files = [out / "train-images-idx3-ubyte"] if format == "idx" else [p for p in out.rglob("*") if p.suffix == ".npz"]
    for path in files:
        content = path.read_bytes()
        at = content.find(pixels.tobytes())
        if at >= 0:
            path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    record_digests_again(out)

    found = command("dataset", "verify", str(out), "--device", "cpu")

    assert found.code == 1
    assert (
        "is not what tiny/1.0.0/1/3?label=0 mints: off by up to 4 of 255" in found.errors or "Bad CRC" in found.errors
    )


def test_a_swapped_picture_is_found(export: Command, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, format="imagefolder")
    first, second = out / "train/a/00000/0.png", out / "train/a/00000/3.png"
    first.write_bytes(second.read_bytes())
    record_digests_again(out)

    found = command("dataset", "verify", str(out), "--device", "cpu")

    assert found.code == 1
    assert "0.png: says tiny/1.0.0/1/0?label=0 beside the image and tiny/1.0.0/1/3?label=0 in it" in found.errors


def test_finish_reads_every_byte_and_the_damaged_shard_is_made_again(
    export: Command, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(out)
    whole = tree(out)
    path = out / "data" / "train-00001.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    damaged = command("dataset", "finish", str(out))

    assert damaged.code == 1
    assert "shard 1 is damaged: data/train-00001.tar has changed: its sha256 is not" in damaged.errors
    assert export(out).code == 0
    assert tree(out) == whole
    assert command("dataset", "finish", str(out)).code == 0
    assert tree(out) == whole


def test_finish_waits_for_the_shards_that_others_make(
    export: Command, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    # What others do meanwhile: each look at the target comes after one of these.
    groups = iter([("0/2",), ("1/2",), ("0/2", 90), ("1/2", 90)])

    def others(_: float) -> None:
        part, count = (*next(groups), 50)[:2]
        assert export(out, "--shard", str(part), count=int(count)).code == 0

    monkeypatch.setattr("service.export.finish.time.sleep", others)
    said: list[str] = []
    finishing.wait_for_shards(Target(str(out)), 90, 100, 1, said.append)

    assert said == [
        "waiting: no export has begun here",
        "waiting: the export here has 50 images instead of 90",
        "waiting: 2 of 6 shards are not committed",
    ]
    assert command("dataset", "finish", str(out), "--wait", "1", "--count", "90").code == 0
    assert json.loads((out / "manifest.json").read_text())["images"] == 90


def test_waiting_ends_and_says_what_is_missing(export: Command, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    nothing = command("dataset", "finish", str(out), "--wait", "0.01")
    export(out, "--shard", "0/2")
    half = command("dataset", "finish", str(out), "--wait", "0.01")

    assert nothing.code == half.code == 1
    assert "after 0.01 s, no export has begun here" in nothing.errors
    assert "after 0.01 s, 1 of 3 shards are not committed" in half.errors


@pytest.mark.parametrize("action", ["finish", "verify"])
def test_a_folder_without_an_export_is_told(action: str, command: Command, tmp_path: Path) -> None:
    failed = command("dataset", action, str(tmp_path))

    assert failed.code == 1
    assert f"{tmp_path}: holds no export" in failed.errors


def test_images_of_another_kind_of_machine_may_be_off_by_one(export: Command, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, format="idx")
    path = out / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[16] += 1 if content[16] < 255 else -1
    path.write_bytes(content)
    record_digests_again(out)
    same_machine = command("dataset", "verify", str(out), "--device", "cpu")
    target = Target(str(out))
    spec = state.read_context(target).spec
    for made in state.read_commits(target, spec, spec.shards()).values():
        state.write_commit(target, made.model_copy(update={"fingerprint": "another"}))
    other_machine = command("dataset", "verify", str(out), "--device", "cpu")

    assert same_machine.code == 1 and "off by up to 1 of 255" in same_machine.errors
    assert other_machine.code == 0 and "1 are off by at most 1 of 255" in other_machine.output
