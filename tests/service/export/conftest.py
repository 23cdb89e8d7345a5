"""The tiny model in a store, exports of it by the command line, and trees to compare."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ganmint
from models import artifact, store
from models.sampler import Sampler
from tests.conftest import Command, Result
from tests.waiting import TIMEOUT_S

REPOSITORY = Path(ganmint.__file__).parent.parent
ARGUMENTS = ("--labels", "balanced", "--seed", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def home(store_home: Path, tiny_artifact: Path) -> Iterator[Path]:
    """A store with tiny 1.0.0: 8x8 grey, classes a, b and c."""
    store.install(tiny_artifact)
    threads = torch.get_num_threads()
    yield store_home
    torch.set_num_threads(threads)


@pytest.fixture
def sampler(tiny_artifact: Path) -> Sampler:
    return artifact.load(tiny_artifact)


@pytest.fixture
def export(command: Command) -> Command:
    """`ganmint export tiny` of 50 balanced images in shards of 20 as webdataset, unless told otherwise."""

    def run(out: Path | str, *more: str, count: int = 50, size: int = 20, format: str = "webdataset") -> Result:
        options = ("--count", str(count), "--shard-size", str(size), "--format", format, "--out", str(out))
        return command("export", "tiny", *options, *ARGUMENTS, *more)

    return run


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program, in the test's store."""
    return subprocess.run(
        [sys.executable, "-m", "ganmint", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes, hidden ones and leftovers included."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
