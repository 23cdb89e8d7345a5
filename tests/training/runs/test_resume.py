"""Resuming: a run that is killed or stopped ends bit for bit like an uninterrupted one."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import CheckpointError
from tests.training.runs.helpers import (
    assert_equal_runs,
    assert_equal_weights,
    read_files,
    read_ticks,
    train,
)
from tests.waiting import TIMEOUT_S
from training.config import Config
from training.data.dataset import Dataset
from training.gan.updates import STATS
from training.runs import checkpoint, loop
from training.runs.loggers import LoggerGroup

MakeConfig = Callable[..., Config]

# Children are forked from a server that has imported torch already, so that a run starts at once.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["training.runs.loop", "torch._inductor.config"])
COMMAND = (sys.executable, "-m", "ganmint", "train", "--preset", "digits", "--device", "cpu")


def start_training(config: Config, data: Dataset, out: Path) -> ForkServerProcess:
    process = FORKSERVER.Process(target=loop.run, args=(config, data, out, "cpu", "ganmint train"))
    process.start()
    return process


def count_ticks(out: Path) -> int:
    path = out / "stats.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_bit_for_bit_the_same(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out, moments, killed = tmp_path / "run", random.Random(0), 0

    while killed < 6:
        process = start_training(tiny_config(), tiny_data, out)
        # Kill it during setup or later: when a run resumes, its folder is prepared again before the first step.
        until, deadline = count_ticks(out) + moments.choice((0, 1, 1, 2)), time.monotonic() + TIMEOUT_S
        while process.is_alive() and count_ticks(out) < until and time.monotonic() < deadline:
            time.sleep(0.001)
        if until:
            time.sleep(moments.random() * 0.15)
        else:
            while process.is_alive() and not (out / "config.yaml").exists():
                time.sleep(0.001)
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1

    assert killed >= 3
    train(tiny_config(), tiny_data, out)
    assert_equal_runs(out, finished)


def train_until_killed(config: Config, data: Dataset, out: Path, call: str, number: int) -> None:
    """Train, and kill this process just before its number-th fsync or rename."""
    calls = 0

    def die_at_last(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args)

        return wrapper

    owner: Any = os if call == "fsync" else Path
    setattr(owner, call, die_at_last(getattr(owner, call)))
    train(config, data, out)


def kill_at_write(config: Config, data: Dataset, out: Path, call: str, number: int) -> None:
    process = FORKSERVER.Process(target=train_until_killed, args=(config, data, out, call, number))
    process.start()
    process.join(TIMEOUT_S)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_at_any_write_ends_bit_for_bit_the_same(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    """The writes are: stats and configuration on resuming, then the tick's stats, grid and checkpoint."""
    out = tmp_path / "run"
    train(tiny_config("total_kimg=0.064"), tiny_data, out)

    for number in range(1, 11):
        kill_at_write(tiny_config(), tiny_data, out, "fsync", number)
    for number in range(1, 5):
        kill_at_write(tiny_config(), tiny_data, out, "replace", number)

    train(tiny_config(), tiny_data, out)
    assert_equal_runs(out, finished)


@pytest.mark.slow
def test_a_run_killed_during_setup_starts_again(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    config = tiny_config("total_kimg=0.064")
    for number in (1, 3):
        kill_at_write(config, tiny_data, tmp_path / str(number), "fsync", number)

        train(config, tiny_data, tmp_path / str(number))

        assert len(read_ticks(tmp_path / str(number))) == 1


@pytest.mark.slow
def test_resuming_deletes_half_written_files(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    out = tmp_path / "run"
    train(tiny_config("total_kimg=0.064"), tiny_data, out)
    # The first two renames are of resuming, the third is the grid's and the fourth the checkpoint's.
    for number in (3, 4):
        kill_at_write(tiny_config("total_kimg=0.128"), tiny_data, out, "replace", number)

    train(tiny_config("total_kimg=0.128"), tiny_data, out)

    assert [p.name for p in out.rglob("*.tmp")] == []


def start_command(out: Path, data: Path, settings: tuple[str, ...]) -> subprocess.Popen[str]:
    arguments = [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(
        [*COMMAND, "--data", str(data), "--out", str(out), *arguments],
        cwd=Path(loop.__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_the_command_terminated_and_killed_ends_bit_for_bit_the_same(
    tmp_path: Path, tiny_settings: tuple[str, ...], tiny_data: Dataset, finished: Path
) -> None:
    out, source = tmp_path / "run", tmp_path / "tiny.npz"
    np.savez(source, images=tiny_data.images, labels=np.asarray(tiny_data.labels), label_names=tiny_data.class_names)

    codes = []
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        with start_command(out, source, tiny_settings) as process:
            before = count_ticks(out)
            while number and process.poll() is None and count_ticks(out) <= before:
                time.sleep(0.005)
            if number:
                process.send_signal(number)
            printed, _ = process.communicate(timeout=TIMEOUT_S)
        codes.append(process.returncode)
        assert "Traceback" not in printed
        assert ("Run the same command to resume" in printed) == (number == signal.SIGTERM)

    assert codes == [130, -signal.SIGKILL, 0]
    # The ticks differ, because SIGTERM cut one short.
    assert_equal_weights(out, finished)


def test_a_run_in_two_halves_equals_a_whole_one(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    train(tiny_config("total_kimg=0.32"), tiny_data, tmp_path / "run")
    train(tiny_config(), tiny_data, tmp_path / "run")

    assert_equal_runs(tmp_path / "run", finished)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_saves_after_the_current_step(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    def stop_at_96(self: LoggerGroup, images_shown: int, *args: float) -> None:
        if images_shown == 96:
            signal.raise_signal(number)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(LoggerGroup, "log_step", stop_at_96)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(), tiny_data, tmp_path / "run")

    assert checkpoint.list_paths(tmp_path / "run")[-1] == checkpoint.path_for(tmp_path / "run", 96)
    assert (
        "Stopped at 0.096 kimg, saved in checkpoint-000000000096.pt. Run the same command to resume."
        in capsys.readouterr().out
    )
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    train(tiny_config(), tiny_data, tmp_path / "run")
    assert_equal_weights(tmp_path / "run", finished)


def test_a_stop_signal_between_two_ticks_ends_the_run(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros, calls = torch.zeros, 0

    def stop_then_zeros(*args: Any, **options: Any) -> Tensor:
        """Stop after a tick has begun and before its first step."""
        nonlocal calls
        if args == (len(STATS),):
            calls += 1
            if calls == 2:
                signal.raise_signal(signal.SIGTERM)
        return zeros(*args, **options)

    monkeypatch.setattr(torch, "zeros", stop_then_zeros)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(), tiny_data, tmp_path / "run")


def test_a_run_stopped_before_its_first_step_claims_no_checkpoint(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    enter = LoggerGroup.__enter__

    def stop_then_enter(self: LoggerGroup) -> LoggerGroup:
        signal.raise_signal(signal.SIGTERM)
        return enter(self)

    monkeypatch.setattr(LoggerGroup, "__enter__", stop_then_enter)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(), tiny_data, tmp_path / "run")

    assert checkpoint.list_paths(tmp_path / "run") or "saved" not in capsys.readouterr().out


def test_resuming_drops_ticks_after_the_checkpoint(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out = tmp_path / "run"
    train(tiny_config("total_kimg=0.32"), tiny_data, out)
    with (out / "stats.jsonl").open("a") as stats:
        stats.write(json.dumps({**read_ticks(out)[-1], "kimg": 0.384, "images_per_second": 1.0}) + '\n{"kimg": 0.44')

    train(tiny_config(), tiny_data, out)

    assert_equal_runs(out, finished)


def test_a_run_resumes_before_a_deleted_damaged_checkpoint(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    older, newest = checkpoint.list_paths(out)
    newest.write_bytes(newest.read_bytes()[:-1000])
    before = read_files(out)

    with pytest.raises(CheckpointError, match=f"Delete it .* to resume from {older.name}"):
        train(tiny_config(), tiny_data, out)
    assert read_files(out) == before

    newest.unlink()
    train(tiny_config(), tiny_data, out)
    assert_equal_runs(out, finished)
