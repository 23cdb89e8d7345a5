"""Training in several processes gives the same as in one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import InputError
from tests.waiting import TIMEOUT_S
from training.config import Config
from training.data.dataset import Dataset
from training.distributed import ProcessGroup, local_device, main_process_output
from training.runs import checkpoint, loop

MakeConfig = Callable[..., Config]
# Forked from a server that has torch loaded already.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["training.runs.loop", "torch._inductor.config"])
# Every setting that uses random numbers or depends on more than one image.
EVERYTHING = (
    "data.mirror=true",
    "augment={p: 0.5}",
    "data.class_sampling_power=0.5",
    "discriminator.minibatch_group=4",
    "infogan_codes=2",
    "encoder={}",
    "projected={scale: 2, width: 4, weight: 0.1}",
    "total_kimg=0.32",
)


def start_processes(size: int, out: Path, data: Path, settings: tuple[str, ...]) -> subprocess.Popen[str]:
    arguments = [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)),
            *("-m", "ganmint", "train", "--preset", "digits", "--device", "cpu"),
            *("--data", str(data), "--out", str(out), *arguments),
        ],
        cwd=Path(loop.__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_data: Dataset) -> Path:
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, images=tiny_data.images, labels=np.asarray(tiny_data.labels), label_names=tiny_data.class_names)
    return path


def ticks(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_have_the_same_curves_as_one(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, source: Path, tiny_settings: tuple[str, ...]
) -> None:
    loop.run(tiny_config(*EVERYTHING), tiny_data, tmp_path / "one", "cpu", "ganmint train")
    with start_processes(2, tmp_path / "two", source, (*tiny_settings, *EVERYTHING)) as process:
        printed, errors = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, errors
    # Only the main process prints.
    assert (printed.count("# training;"), printed.count(" images/s ")) == (1, 5)
    one, two = ticks(tmp_path / "one"), ticks(tmp_path / "two")
    assert len(one) == len(two) == 5
    for a, b in zip(one, two):
        assert a.pop("images_per_second") > 0 and b.pop("images_per_second") > 0
        assert b == pytest.approx(a, rel=1e-3, abs=1e-5)
    states = [checkpoint.load(checkpoint.list_paths(tmp_path / name)[-1])["trainer"]["ema"] for name in ("one", "two")]
    for name, value in states[0].items():
        assert torch.allclose(states[1][name], value, rtol=1e-2, atol=1e-4)


def run_in_process(rank: int, port: int, config: Config, data: Dataset, out: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    loop.run(config, data, out, "cpu", "ganmint train")


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_one_process_can_resume(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out, config = tmp_path / "run", tiny_config("total_kimg=1000")
    processes = [FORKED.Process(target=run_in_process, args=(rank, port, config, tiny_data, out)) for rank in (0, 1)]
    for process in processes:
        process.start()
    while all(process.is_alive() for process in processes) and not checkpoint.list_paths(out):
        time.sleep(0.02)
    # Not the main process.
    os.kill(processes[1].pid or 0, signal.SIGTERM)
    for process in processes:
        process.join(TIMEOUT_S)

    # Both by KeyboardInterrupt.
    assert [process.exitcode for process in processes] == [1, 1]
    stopped_at = checkpoint.load(checkpoint.list_paths(out)[-1])["trainer"]["images_shown"]
    loop.run(tiny_config(f"total_kimg={(stopped_at + 64) / 1000}"), tiny_data, out, "cpu", "ganmint train")
    assert ticks(out)[-1]["kimg"] == (stopped_at + 64) / 1000


def test_the_rows_of_all_processes_are_the_batch() -> None:
    rows = np.arange(12)

    parts = [rows[ProcessGroup(rank, 3).rows(12)].tolist() for rank in range(3)]

    assert parts == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert rows[ProcessGroup().rows(12)].tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        (("batch=18",), "batch", "multiple of 4, for 4 processes"),
        (("batch=24", "discriminator.minibatch_group=4"), "batch", "multiple of 16, for 4 processes"),
        (
            ("generator={kind: dcgan, base: 4, widths: [4]}", "discriminator={kind: dcgan, base: 4, widths: [4]}"),
            "generator",
            "one process",
        ),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(
    tiny_config: MakeConfig, settings: tuple[str, ...], field: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        loop.check_batch_split(tiny_config(*settings), ProcessGroup(0, 4))

    assert caught.value.field == field


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_device("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")

    assert [local_device(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda:3", "cuda:1", "cpu"]


def test_only_the_main_process_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with main_process_output():
            print("rank", rank)

    assert capsys.readouterr().out == "rank 0\n"
