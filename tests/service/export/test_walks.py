"""An export of a walk: its images are the steps, spelled as `ganmint walk` spells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ganmint
from models.address import Address
from models.sampler import Sampler
from models.walk import plan_walk
from service.export.plan import FORMATS
from tests.conftest import Command, Result
from tests.service.export.conftest import tree

STOPS = ("tiny/1.0.0/7/0?label=0&z1=1", "tiny/1.0.0/8/3?label=1&z1=1", "tiny/1.0.0/9/1?label=1&z1=1")


def run(command: Command, out: Path, *more: str, format: str = "imagefolder", count: int = 25) -> Result:
    walk = [word for stop in STOPS for word in ("--walk", stop)]
    options = ("--count", str(count), "--shard-size", "10", "--format", format, "--out", str(out), "--device", "cpu")
    return command("export", "tiny", *walk, *options, *more)


@pytest.mark.parametrize("is_loop", [False, True])
def test_the_images_are_the_steps_in_their_order(
    is_loop: bool, command: Command, tmp_path: Path, sampler: Sampler
) -> None:
    out = tmp_path / "out"
    result = run(command, out, *["--loop"] * is_loop)
    assert result.code == 0, result.errors
    steps = plan_walk([sampler.manifest.check(Address.parse(stop)) for stop in STOPS], 25, is_loop)
    rows = [json.loads(row) for path in out.rglob("metadata.jsonl") for row in path.read_text().splitlines()]
    rows.sort(key=lambda row: int(row["file_name"].removesuffix(".png")))
    assert [row["file_name"] for row in rows] == [f"{k}.png" for k in range(25)]
    assert [row["address"] for row in rows] == [str(step) for step in steps]
    files = {path.name: path.read_bytes() for path in (out / "train").rglob("*.png")}
    for k in (0, 7, 24):
        assert files[f"{k}.png"] == ganmint.encode(sampler.mint([steps[k]])[0], steps[k])
    readme = (out / "README.md").read_text()
    assert all(f"--walk '{stop}'" in readme for stop in STOPS) and ("--loop" in readme) == is_loop


@pytest.mark.parametrize("format", FORMATS)
def test_a_walk_resumes_and_verifies_like_any_export(format: str, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(command, out, "--shard", "1/3", format=format).code == 0
    assert run(command, out, format=format).code == 0
    whole = tree(out)
    verified = command("dataset", "verify", str(out), "--device", "cpu")
    assert verified.code == 0 and "25 are the same byte for byte" in verified.output, verified.errors
    again = run(command, out, format=format)
    assert "3 of 3 shards are committed already" in again.output and tree(out) == whole


@pytest.mark.parametrize(
    ("more", "count", "words"),
    [
        (("--seed", "1"), 25, "leave --seed"),
        (("--labels", "1"), 25, "leave --seed"),
        (("--walk", "tiny/1.0.0/9/1?label=1&u0.1=1"), 25, "--walk[3]: must have the same paste and uL.U"),
        (("--walk", "tiny/1.0.0/9"), 25, "--walk[3].address: "),
        (("--walk", "tiny/2.0.0/9/1"), 25, "--walk[3].version: "),
        ((), 2, "--count: must be from 3"),
        ((), 10_001, "--count: must be from 3"),
    ],
)
def test_what_is_no_walk_is_refused(
    more: tuple[str, ...], count: int, words: str, command: Command, tmp_path: Path
) -> None:
    result = run(command, tmp_path / "out", *more, count=count)
    assert result.code == 2 and words in result.errors
    assert not (tmp_path / "out").exists()


def test_another_walk_and_more_steps_are_refused(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(command, out).code == 0
    whole = tree(out)
    more = run(command, out, count=30)
    assert more.code == 2 and "--count: 30 steps of a walk are other images than the 25 here" in more.errors
    assert "--loop is False there, True here" in run(command, out, "--loop").errors
    other = run(command, out, "--walk", "tiny/1.0.0/5/5?label=1&z1=1")
    assert "--walk is" in other.errors and tree(out) == whole
    loop = ("--loop", "--count", "5", "--format", "npz", "--out", str(tmp_path / "loop"))
    assert "--loop: is of no use without --walk" in command("export", "tiny", *loop).errors
