"""The same bytes from one worker, several, shard groups in any order, and Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.export import processes
from service.export.plan import FORMATS
from tests.conftest import Command
from tests.service.export.conftest import ARGUMENTS, REPOSITORY, program, tree
from tests.service.export.ray_stub import run_ray_tasks_here
from tests.waiting import TIMEOUT_S


@pytest.mark.parametrize("format", FORMATS)
def test_shard_groups_in_any_order_write_what_one_run_writes(
    format: str, export: Command, command: Command, tmp_path: Path
) -> None:
    assert export(tmp_path / "one", format=format).code == 0
    for part in ("2/3", "0/3", "1/3"):
        piece = export(tmp_path / "pieces", "--shard", part, format=format)
        assert piece.code == 0 and "ganmint dataset finish" in piece.output
        assert not (tmp_path / "pieces" / "manifest.json").exists()
    assert command("dataset", "finish", str(tmp_path / "pieces")).code == 0
    assert tree(tmp_path / "pieces") == tree(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["imagefolder", "idx"])
def test_two_workers_write_what_one_worker_writes(format: str, export: Command, tmp_path: Path) -> None:
    assert export(tmp_path / "one", format=format).code == 0
    assert export(tmp_path / "two", "--workers", "2", format=format).code == 0

    assert tree(tmp_path / "two") == tree(tmp_path / "one")


LOSING = """
import os, sys
import service.export.worker as worker
from pathlib import Path
from models import store
from service.export import commands
from service.export.ray_engine import RayEngine, run_task
import service.export.ray_engine as engine

def losing(url, job, model, device, shard):
    once = Path(os.environ["LOST"]) / f"lost-{shard.number}"
    if shard.number == 1 and not once.exists():
        once.touch()
        os.kill(os.getpid(), 9)
    return run_task(url, job, model, device, shard)

engine.run_task = losing
sys.argv[:] = ["ganmint", *sys.argv[1:]]
from ganmint.cli import main
main()
"""


@pytest.mark.slow
def test_a_real_local_ray_that_loses_a_worker_writes_what_one_worker_writes(export: Command, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    export(tmp_path / "one")
    arguments = ["--count", "50", "--shard-size", "20", "--format", "webdataset", "--out", str(tmp_path / "ray")]
    script = [sys.executable, "-c", LOSING, "export", "tiny", *arguments, *ARGUMENTS, "--engine", "ray"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*script, "--workers", "2"],
            cwd=REPOSITORY,
            env={**os.environ, "LOST": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    done = run()
    # Ray gives its own processes 30 s to start, which a busy machine may exceed.
    while "timed out during startup" in done.stderr:
        done = run()

    assert done.returncode == 0, done.stderr
    assert "3/3 shards" in done.stdout and (tmp_path / "lost-1").exists()
    assert tree(tmp_path / "ray") == tree(tmp_path / "one")


def test_ray_takes_a_relative_folder_for_the_one_here(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    run_ray_tasks_here(tmp_path / "elsewhere", monkeypatch)
    monkeypatch.chdir(tmp_path)

    assert export("out", "--engine", "ray").code == 0
    assert (tmp_path / "out" / "manifest.json").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
def test_a_shard_of_many_is_made_and_the_others_are_named_by_finish(export: Command, tmp_path: Path) -> None:
    export(tmp_path / "out", "--shard", "1/4", count=200)

    done = program("dataset", "finish", str(tmp_path / "out"))

    assert done.returncode == 1
    assert "7 of 10 shards are not committed: 0, 2-4, 6-8" in done.stderr


def dying(connection: object, request: object) -> None:
    """In a worker's place."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_a_rerun_completes(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(processes, "_work", dying)
        failed = export(tmp_path / "out", "--workers", "2")

    assert failed.code == 1
    assert "a worker process: was killed" in failed.errors and "run the same command again" in failed.errors
    assert export(tmp_path / "out", "--workers", "2").code == 0


@pytest.mark.slow
def test_a_worker_that_cannot_load_its_model_says_why(export: Command, store_home: Path, tmp_path: Path) -> None:
    generator = store_home / "models" / "tiny" / "1.0.0" / "generator.onnx"
    generator.write_bytes(generator.read_bytes()[:-1])

    failed = export(tmp_path / "out", "--workers", "2")

    assert failed.code == 1
    assert str(generator.parent) in failed.errors and "killed" not in failed.errors


def exiting(connection: object, request: object) -> None:
    """In a worker's place."""
    sys.exit(3)


@pytest.mark.slow
def test_a_worker_that_ends_before_it_begins_is_not_called_killed(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_work", exiting)

    failed = export(tmp_path / "out", "--workers", "2")

    assert failed.code == 1 and "a worker process: ended with exit code 3" in failed.errors


def test_markers_name_the_machine_and_mixed_machines_are_told(export: Command, tmp_path: Path) -> None:
    export(tmp_path / "out")
    marker = tmp_path / "out" / ".ganmint" / "shards" / "00001.json"
    fingerprint = json.loads(marker.read_text())["fingerprint"]
    assert "onnxruntime" in fingerprint
    marker.write_text(marker.read_text().replace(fingerprint, "torch of old"))

    again = export(tmp_path / "out")

    assert again.code == 0
    assert "Made on several kinds of machines" in again.output and "torch of old" in again.output
