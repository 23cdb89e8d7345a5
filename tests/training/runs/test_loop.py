"""Runs: the promise that killing one changes nothing, what a run leaves behind, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
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
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.errors import CheckpointError, FileError, GanmintError, InputError, TrainingDivergedError
from training.config import Config, load_config, load_preset
from training.data.dataset import Dataset
from training.gan.trainer import STATS, Trainer
from training.runs import checkpoint, loop
from training.runs.loggers import LoggerGroup

MakeConfig = Callable[..., Config]

# Children are forked from a server that has torch loaded already, so that a run starts at once.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["training.runs.loop", "torch._inductor.config"])
PROGRAM = (sys.executable, "-m", "ganmint", "train", "--preset", "digits", "--device", "cpu")


def run(config: Config, data: Dataset, out: Path) -> None:
    loop.run(config, data, out, "cpu", "ganmint train --preset digits")


def ticks(out: Path) -> list[dict[str, float]]:
    """The lines of stats.jsonl, without the one figure that is a measurement of this machine."""
    lines = [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("images_per_second") > 0
    return lines


def assert_same(a: Any, b: Any) -> None:
    """Equal to the last bit, through dictionaries and lists."""
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert a.numpy().tobytes() == b.numpy().tobytes()
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    else:
        assert a == b


def assert_same_weights(out: Path, undisturbed: Path) -> None:
    ours, theirs = checkpoint.list_paths(out)[-1], checkpoint.list_paths(undisturbed)[-1]
    assert ours.name == theirs.name
    assert_same(checkpoint.load(ours), checkpoint.load(theirs))


def assert_same_run(out: Path, undisturbed: Path) -> None:
    assert_same_weights(out, undisturbed)
    assert ticks(out) == ticks(undisturbed)
    assert sorted(p.name for p in (out / "grids").glob("*.png")) == sorted(
        p.name for p in (undisturbed / "grids").glob("*.png")
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def no_step(trainer: Trainer) -> NoReturn:
    raise AssertionError("a step was taken")


def start(config: Config, data: Dataset, out: Path) -> ForkServerProcess:
    process = FORKED.Process(target=loop.run, args=(config, data, out, "cpu", "ganmint train"))
    process.start()
    return process


def lines_in(out: Path) -> int:
    path = out / "stats.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_killed_at_random_moments_a_run_ends_bit_for_bit_like_an_undisturbed_one(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out, moments, killed = tmp_path / "run", random.Random(0), 0

    while killed < 6:
        process = start(tiny_config(), tiny_data, out)
        # From the moment that the run is under way: its folder's state is set up again, and steps follow.
        until, deadline = lines_in(out) + moments.choice((0, 1, 1, 2)), time.monotonic() + 60
        while process.is_alive() and lines_in(out) < until and time.monotonic() < deadline:
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
    run(tiny_config(), tiny_data, out)
    assert_same_run(out, finished)


def killed_at_a_write(config: Config, data: Dataset, out: Path, call: str, number: int) -> None:
    """A run that SIGKILL ends at the number-th fsync or rename, just before it."""
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
    run(config, data, out)


def kill_at(config: Config, data: Dataset, out: Path, call: str, number: int) -> None:
    process = FORKED.Process(target=killed_at_a_write, args=(config, data, out, call, number))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_killed_in_the_middle_of_any_write_a_run_ends_bit_for_bit_like_an_undisturbed_one(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    """Each time a write later: stats and configuration on resuming, then the tick's stats, grid and checkpoint."""
    out = tmp_path / "run"
    run(tiny_config("total_kimg=0.064"), tiny_data, out)

    for number in range(1, 11):
        kill_at(tiny_config(), tiny_data, out, "fsync", number)
    for number in range(1, 5):
        kill_at(tiny_config(), tiny_data, out, "replace", number)

    run(tiny_config(), tiny_data, out)
    assert_same_run(out, finished)


def test_killed_while_the_folder_is_set_up_the_same_command_goes_on(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    config = tiny_config("total_kimg=0.064")
    for number in (1, 3):
        kill_at(config, tiny_data, tmp_path / str(number), "fsync", number)

        run(config, tiny_data, tmp_path / str(number))

        assert len(ticks(tmp_path / str(number))) == 1


def test_killed_writes_leave_no_litter_once_the_run_has_gone_on(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    out = tmp_path / "run"
    run(tiny_config("total_kimg=0.064"), tiny_data, out)
    # Resuming renames two files, then come the grid's and the checkpoint's.
    for number in (3, 4):
        kill_at(tiny_config("total_kimg=0.128"), tiny_data, out, "replace", number)

    run(tiny_config("total_kimg=0.128"), tiny_data, out)

    assert [p.name for p in out.rglob("*.tmp")] == []


def program(out: Path, data: Path, settings: tuple[str, ...]) -> subprocess.Popen[str]:
    arguments = [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(
        [*PROGRAM, "--data", str(data), "--out", str(out), *arguments],
        cwd=Path(loop.__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_real_command_terminated_then_killed_ends_bit_for_bit_like_an_undisturbed_run(
    tmp_path: Path, tiny_settings: tuple[str, ...], tiny_data: Dataset, finished: Path
) -> None:
    out, source = tmp_path / "run", tmp_path / "tiny.npz"
    np.savez(source, images=tiny_data.images, labels=np.asarray(tiny_data.labels), label_names=tiny_data.class_names)

    codes = []
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        with program(out, source, tiny_settings) as process:
            before = lines_in(out)
            while number and process.poll() is None and lines_in(out) <= before:
                time.sleep(0.005)
            if number:
                process.send_signal(number)
            printed, _ = process.communicate(timeout=120)
        codes.append(process.returncode)
        assert "Traceback" not in printed
        assert ("Run the same command to resume" in printed) == (number == signal.SIGTERM)

    assert codes == [130, -signal.SIGKILL, 0]
    # Not the ticks: one that is cut short by SIGTERM has a line of its own.
    assert_same_weights(out, finished)


def test_two_halves_are_the_whole(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path) -> None:
    run(tiny_config("total_kimg=0.32"), tiny_data, tmp_path / "run")
    run(tiny_config(), tiny_data, tmp_path / "run")

    assert_same_run(tmp_path / "run", finished)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_saves_after_the_step_that_is_under_way(
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
            run(tiny_config(), tiny_data, tmp_path / "run")

    assert checkpoint.list_paths(tmp_path / "run")[-1] == checkpoint.path_for(tmp_path / "run", 96)
    assert (
        "Stopped at 0.096 kimg, saved in checkpoint-000000000096.pt. Run the same command to resume."
        in capsys.readouterr().out
    )
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    run(tiny_config(), tiny_data, tmp_path / "run")
    assert_same_weights(tmp_path / "run", finished)


def test_a_stop_signal_between_two_ticks_is_no_divergence(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros, calls = torch.zeros, 0

    def stop_then_zeros(*args: Any, **options: Any) -> Tensor:
        """The tick has begun, and its first step has not."""
        nonlocal calls
        if args == (len(STATS),):
            calls += 1
            if calls == 2:
                signal.raise_signal(signal.SIGTERM)
        return zeros(*args, **options)

    monkeypatch.setattr(torch, "zeros", stop_then_zeros)

    with pytest.raises(KeyboardInterrupt):
        run(tiny_config(), tiny_data, tmp_path / "run")


def test_a_run_stopped_before_its_first_step_does_not_claim_to_have_saved(
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
        run(tiny_config(), tiny_data, tmp_path / "run")

    assert checkpoint.list_paths(tmp_path / "run") or "saved" not in capsys.readouterr().out


def test_a_tick_has_at_least_one_step_whatever_its_length(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_weights(trainer: Trainer) -> dict[str, Tensor]:
        trainer.images_shown += 100
        return dict.fromkeys(STATS, torch.ones(()))

    monkeypatch.setattr(Trainer, "step", no_weights)

    run(tiny_config("tick_kimg=0.03333333333333333", "total_kimg=2.2", "batch=100"), tiny_data, tmp_path / "run")


def test_a_second_run_on_a_finished_folder_does_nothing(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(Trainer, "step", no_step)

    run(tiny_config(), tiny_data, tmp_path / "run")

    assert files(tmp_path / "run") == files(finished)
    assert "already trained to 0.64 kimg; nothing to do" in capsys.readouterr().out


def other_images(data: Dataset) -> Dataset:
    return dataclasses.replace(data, images=(255 - data.images).astype(np.uint8))


def other_labels(data: Dataset) -> Dataset:
    assert data.labels is not None
    return dataclasses.replace(data, labels=2 - data.labels)


def other_names(data: Dataset) -> Dataset:
    return dataclasses.replace(data, class_names=("x", "y", "z"))


@pytest.mark.parametrize("change", [other_images, other_labels, other_names])
def test_a_run_refuses_to_go_on_with_other_data(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    finished: Path,
    change: Callable[[Dataset], Dataset],
) -> None:
    shutil.copytree(finished, tmp_path / "run")

    with pytest.raises(CheckpointError, match="was trained on other data"):
        run(tiny_config("total_kimg=1"), change(tiny_data), tmp_path / "run")

    assert files(tmp_path / "run") == files(finished)


def test_the_same_data_under_another_name_is_the_same_data(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")

    run(tiny_config(), dataclasses.replace(tiny_data, name="moved.npz"), tmp_path / "run")


@pytest.mark.parametrize(
    ("assignment", "field"),
    [
        ("seed=1", "seed"),
        ("batch=32", "batch"),
        ("lr.end=2e-4", "lr.end"),
        ("generator.widths=[8, 8]", "generator.widths"),
        ("data.mirror=true", "data.mirror"),
        ("schedule_kimg=1", "schedule_kimg"),
    ],
)
def test_a_run_refuses_to_go_on_with_other_settings(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, assignment: str, field: str
) -> None:
    shutil.copytree(finished, tmp_path / "run")

    with pytest.raises(InputError, match="give the same settings to resume it, or another --out") as caught:
        run(tiny_config(assignment), tiny_data, tmp_path / "run")

    assert caught.value.field == field
    assert files(tmp_path / "run") == files(finished)


def test_a_folder_with_other_things_is_refused(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(FileError, match=r"not empty and holds no run \(found thesis.txt\); choose another --out"):
        run(tiny_config(), tiny_data, tmp_path)

    assert files(tmp_path) == {"thesis.txt": b"mine"}


def test_a_refused_folder_keeps_a_lock_file_of_its_own(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / ".lock").write_text("pid 17")

    with pytest.raises(FileError):
        run(tiny_config(), tiny_data, tmp_path)

    assert (tmp_path / ".lock").read_text() == "pid 17"


def test_an_out_that_is_a_file_is_refused(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    (tmp_path / "file").write_text("mine")

    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(GanmintError, match="file"):
            run(tiny_config(), tiny_data, out)


def test_a_folder_where_another_run_is_writing_is_refused(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = []

    def run_again(self: LoggerGroup, images_shown: int, *args: float) -> None:
        if images_shown == 80:
            before = files(tmp_path / "run")
            with pytest.raises(FileError, match="another training run is writing here") as caught:
                run(tiny_config(), tiny_data, tmp_path / "run")
            refusals.append(caught.value.path)
            assert files(tmp_path / "run") == before

    monkeypatch.setattr(LoggerGroup, "log_step", run_again)
    run(tiny_config(), tiny_data, tmp_path / "run")

    assert refusals == [tmp_path / "run"]
    assert_same_run(tmp_path / "run", finished)


def test_images_that_do_not_fit_the_preset_are_refused(tmp_path: Path, tiny_data: Dataset) -> None:
    with pytest.raises(InputError, match=r"make 28x28 images .* but the data has 8x8 \(preset digits\)") as caught:
        run(load_preset("digits"), tiny_data, tmp_path / "run")

    assert caught.value.field == "--data"
    assert files(tmp_path) == {}


def test_a_damaged_checkpoint_is_refused_and_the_one_before_takes_over(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    older, newest = checkpoint.list_paths(out)
    newest.write_bytes(newest.read_bytes()[:-1000])
    before = files(out)

    with pytest.raises(CheckpointError, match=f"Delete it .* to resume from {older.name}"):
        run(tiny_config(), tiny_data, out)
    assert files(out) == before

    newest.unlink()
    run(tiny_config(), tiny_data, out)
    assert_same_run(out, finished)


@pytest.mark.parametrize("content", [b"", b"a: [1", b"\xff\xfe\x00", b"batch: 3\n"])
def test_a_damaged_configuration_is_refused_by_its_files_name(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, content: bytes
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_bytes(content)

    with pytest.raises(GanmintError, match=r"config\.yaml"):
        run(tiny_config(), tiny_data, tmp_path / "run")


def test_a_half_written_line_of_stats_is_forgotten(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out = tmp_path / "run"
    run(tiny_config("total_kimg=0.32"), tiny_data, out)
    with (out / "stats.jsonl").open("a") as stats:
        stats.write(json.dumps({**ticks(out)[-1], "kimg": 0.384, "images_per_second": 1.0}) + '\n{"kimg": 0.44')

    run(tiny_config(), tiny_data, out)

    assert_same_run(out, finished)


class Poisoned(Dataset):
    """A data set whose tenth batch has one value that is not a number."""

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        batches = self.__dict__["batches"] = self.__dict__.get("batches", 0) + 1
        values, labels = super().batch(indices)
        if batches == 10:
            values[3] = np.nan
        return values, labels


def toy_config(*assignments: str) -> Config:
    small = ("batch=16", "generator.width=8", "discriminator.width=8", "tick_kimg=0.064", "total_kimg=2")
    return load_preset("toy1d", (*small, *assignments))


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    values = np.random.RandomState(0).normal(size=(256, 1, 1, 1)).astype(np.float32)
    out = tmp_path / "run"

    with pytest.raises(TrainingDivergedError, match=r"not finite at 0\.192 kimg") as caught:
        run(toy_config(), Poisoned("poisoned", values), out)

    assert all(name in str(caught.value) for name in STATS)
    assert "The last checkpoint is kept. Lower lr or raise gamma" in str(caught.value)
    assert [p.name for p in checkpoint.list_paths(out)] == ["checkpoint-000000000064.pt", "checkpoint-000000000128.pt"]
    state = checkpoint.load(checkpoint.list_paths(out)[-1])["trainer"]
    assert all(value.isfinite().all() for name in ("G", "D", "ema") for value in state[name].values())


def test_a_learning_rate_that_explodes_stops_the_run(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    with pytest.raises(TrainingDivergedError, match=r"not finite .*loss_D nan"):
        run(tiny_config("lr={start: 1.0e+9, end: 1.0e+9}"), tiny_data, tmp_path / "run")


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_that_are_not_numbers_are_never_saved(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, seed: int
) -> None:
    """With this rate an update overflows whose own losses were finite still."""
    exploding = tiny_config("lr={start: 5.0e+4, end: 5.0e+4}", "tick_kimg=0.016", f"seed={seed}")
    with pytest.raises(TrainingDivergedError):
        run(exploding, tiny_data, tmp_path / "run")

    for path in checkpoint.list_paths(tmp_path / "run"):
        state = checkpoint.load(path)["trainer"]
        assert all(value.isfinite().all() for name in ("G", "D", "ema") for value in state[name].values()), path.name


def test_stats_stay_json_when_a_loss_is_not_a_number(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    with pytest.raises(TrainingDivergedError):
        run(tiny_config("lr={start: 1.0e+9, end: 1.0e+9}"), tiny_data, tmp_path / "run")

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_discriminator_that_has_won_outright_stops_the_run(tmp_path: Path) -> None:
    """Without a penalty, and with a generator that would need ages to come near."""
    far = Dataset("far", np.random.RandomState(0).normal(1000.0, 1.0, size=(256, 1, 1, 1)).astype(np.float32))
    config = toy_config("gamma={start: 0, end: 0}", "lr={start: 0.001, end: 0.001}")

    with pytest.raises(TrainingDivergedError, match=r"has won at 0\.192 kimg") as caught:
        run(config, far, tmp_path / "run")

    assert "margins 8" in str(caught.value)
    assert "raise gamma" in str(caught.value)
    assert [line["acc_pair"] for line in ticks(tmp_path / "run")] == [1.0] * loop.WON_TICKS
    # What may be the end is not saved, so that the same command finds the same.
    assert checkpoint.list_paths(tmp_path / "run") == []


def test_every_tick_leaves_a_line_a_picture_and_a_checkpoint(finished: Path, tiny_data: Dataset) -> None:
    lines = ticks(finished)
    assert [line["kimg"] for line in lines] == pytest.approx([0.064 * k for k in range(1, 11)])
    assert all(line.keys() == {"kimg", "lr", "gamma", "augment_p", *STATS} for line in lines)
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert lines[-1]["lr"] == pytest.approx(1e-4) and lines[-1]["gamma"] == pytest.approx(0.1)

    assert sorted(p.name for p in (finished / "grids").iterdir()) == [f"{64 * k:012d}.png" for k in range(1, 11)]
    with Image.open(finished / "grids" / f"{640:012d}.png") as grid:
        # Three classes: nine columns.
        assert grid.size == (72, 64) and grid.mode == "L"
        assert len(set(grid.tobytes())) > 10

    assert [p.name for p in checkpoint.list_paths(finished)] == [
        "checkpoint-000000000576.pt",
        "checkpoint-000000000640.pt",
    ]
    state = checkpoint.load(checkpoint.list_paths(finished)[-1])
    assert state["trainer"]["images_shown"] == 640
    assert state["data"] == {
        "name": "stripes",
        "digest": tiny_data.digest,
        "images": 256,
        "held_out": 0,
        "licence": "CC0",
        "attribution": "",
        "use": "",
        "label_names": ["none", "flat", "upright"],
    }


def test_the_presets_words_about_its_data_go_only_with_that_data(tiny_data: Dataset) -> None:
    preset = load_preset("digits")
    other = loop.describe_data(preset, tiny_data)
    assert (other["name"], other["licence"], other["attribution"]) == (tiny_data.name, "not stated", "")

    own = preset.model_copy(update={"data": preset.data.model_copy(update={"digest": tiny_data.digest})})
    said = loop.describe_data(own, tiny_data)
    assert (said["name"], said["licence"]) == ("MNIST", "CC BY-SA 3.0")
    assert "LeCun" in said["attribution"]

    mine = loop.describe_data(load_preset("digits", ("data.licence=CC0",)), tiny_data)
    assert (mine["name"], mine["licence"], mine["attribution"]) == (tiny_data.name, "CC0", "")


def test_what_is_held_out_is_never_shown_and_the_card_is_about_the_whole(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: set[bytes] = set()
    batch = Dataset.batch

    def recorded(self: Dataset, indices: NDArray[np.int64]) -> Any:
        shown.update(self.images[k].tobytes() for k in indices)
        return batch(self, indices)

    monkeypatch.setattr(Dataset, "batch", recorded)

    run(tiny_config("data.holdout=0.25"), tiny_data, tmp_path / "run")

    train, held_out = tiny_data.split(0.25)
    assert shown == {image.tobytes() for image in train.images}
    assert not shown & {image.tobytes() for image in held_out.images}
    card = checkpoint.load(checkpoint.list_paths(tmp_path / "run")[-1])["data"]
    assert (card["images"], card["held_out"], card["digest"]) == (256, 64, tiny_data.digest)


def test_validation_images_are_never_shown(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: set[bytes] = set()
    batch = Dataset.batch

    def recorded(self: Dataset, indices: NDArray[np.int64]) -> Any:
        shown.update(self.images[k].tobytes() for k in indices)
        return batch(self, indices)

    monkeypatch.setattr(Dataset, "batch", recorded)

    run(tiny_config("data.holdout=0.25", "data.validation=0.1"), tiny_data, tmp_path / "run")

    train, validation = tiny_data.split(0.25)[0].stratified_split(0.1)
    assert shown == {image.tobytes() for image in train.images}
    assert len(train) + len(validation) == 192 and len(validation) == 19


def test_every_tick_is_in_the_tensorboard_events(finished: Path) -> None:
    (events,) = (finished / "tensorboard").glob("events.out.tfevents.*")

    content = events.read_bytes()

    assert all(content.count(name.encode()) == 10 for name in ("loss_G", "loss_D", "acc_pair", "images_per_second"))


def test_a_run_remembers_its_command_and_configuration(finished: Path, tiny_config: MakeConfig) -> None:
    origin = json.loads((finished / "run.json").read_text())

    assert origin["command"] == "ganmint train --preset digits"
    assert origin["torch"] == torch.__version__
    assert load_config(finished / "config.yaml") == tiny_config()


def test_a_loss_printed_is_the_loss_of_the_stats(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tiny_config("total_kimg=0.128"), tiny_data, tmp_path / "run")

    printed = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]

    assert len(printed) == 2
    for text, tick in zip(printed, ticks(tmp_path / "run")):
        assert f"loss G {tick['loss_G']:.3f} D {tick['loss_D']:.3f}" in text
        assert "left" in text and "\r" not in text


def test_a_run_with_codes_leaves_a_strip_of_each(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    run(tiny_config("infogan_codes=2", "total_kimg=0.064"), tiny_data, tmp_path / "run")

    with Image.open(tmp_path / "run" / "codes.png") as strips:
        # Ten rows of eleven images for each, and a gap.
        assert strips.size == (11 * 8, 2 * 10 * 8 + 4)
        pixels = np.asarray(strips)
    rows = pixels[:80].reshape(10, 8, 11, 8)
    assert all(np.any(rows[:, :, 0] != rows[:, :, k]) for k in range(1, 11))
    assert np.any(pixels[:80] != pixels[84:])


def test_a_run_begins_with_what_another_has_learnt_and_goes_on_without_it(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out, longer = tmp_path / "run", tiny_config("total_kimg=0.768", "schedule_kimg=0.8")
    loop.run(longer, tiny_data, out, "cpu", "ganmint train", init=finished)
    whole = ticks(out)
    assert whole[0]["kimg"] > 0.640 and whole[-1]["kimg"] == 0.768
    assert {path.name for path in finished.iterdir()} >= {"config.yaml", "run.json"}

    # Stopped half way and gone on, with another run to begin with by now, it ends the same.
    again = tmp_path / "again"
    loop.run(tiny_config("total_kimg=0.704", "schedule_kimg=0.8"), tiny_data, again, "cpu", "t", init=finished)
    loop.run(longer, tiny_data, again, "cpu", "ganmint train", init=out)
    assert_same_weights(again, out)


def test_what_a_run_cannot_begin_with_is_refused(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    for assignment, init, words in (
        ("seed=1", tmp_path / "none", "none holds no checkpoint; give the folder of a run"),
        ("generator.widths=[8, 8]", finished, "does not fit these settings' networks"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            loop.run(tiny_config(assignment), tiny_data, tmp_path / "run", "cpu", "ganmint train", init=init)
        assert caught.value.field == "--init"
        assert not (tmp_path / "run" / "config.yaml").exists()
