"""Train tiny runs and compare their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from training.config import Config
from training.data.dataset import Dataset
from training.gan.trainer import Trainer
from training.runs import checkpoint, loop


def train(config: Config, data: Dataset, out: Path) -> None:
    loop.run(config, data, out, "cpu", "ganmint train --preset digits")


def read_ticks(out: Path) -> list[dict[str, float]]:
    """Return the lines of stats.jsonl, without the speed, which depends on the machine."""
    lines = [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("images_per_second") > 0
    return lines


def assert_equal(a: Any, b: Any) -> None:
    """Check that two values are equal to the last bit, inside dictionaries and lists too."""
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert a.numpy().tobytes() == b.numpy().tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_equal(x, y)
    else:
        assert a == b


def assert_equal_weights(out: Path, uninterrupted: Path) -> None:
    ours, theirs = checkpoint.list_paths(out)[-1], checkpoint.list_paths(uninterrupted)[-1]
    assert ours.name == theirs.name
    assert_equal(checkpoint.load(ours), checkpoint.load(theirs))


def assert_equal_runs(out: Path, uninterrupted: Path) -> None:
    assert_equal_weights(out, uninterrupted)
    assert read_ticks(out) == read_ticks(uninterrupted)
    assert sorted(p.name for p in (out / "grids").glob("*.png")) == sorted(
        p.name for p in (uninterrupted / "grids").glob("*.png")
    )


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a folder except the lock."""
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def fail_on_step(trainer: Trainer) -> NoReturn:
    raise AssertionError("a step was taken")
