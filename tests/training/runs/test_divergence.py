"""Training that cannot continue stops and keeps the last checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import TrainingDivergedError
from tests.training.runs.helpers import (
    read_ticks,
    train,
)
from training.config import Config
from training.config_files import load_preset
from training.data.dataset import Dataset
from training.gan.updates import STATS
from training.runs import checkpoint, divergence

MakeConfig = Callable[..., Config]
# So far from the generator that, without a penalty, D wins at once.
FAR = Dataset("far", np.random.RandomState(0).normal(1000.0, 1.0, size=(256, 1, 1, 1)).astype(np.float32))


class DatasetWithNaN(Dataset):
    """A data set whose tenth batch has one NaN."""

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        batches = self.__dict__["batches"] = self.__dict__.get("batches", 0) + 1
        values, labels = super().batch(indices)
        if batches == 10:
            values[3] = np.nan
        return values, labels


def toy_config(*assignments: str) -> Config:
    small = ("batch=16", "generator.width=8", "discriminator.width=8", "tick_kimg=0.064", "total_kimg=2")
    return load_preset("toy1d", (*small, *assignments))


def test_a_loss_of_nan_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    values = np.random.RandomState(0).normal(size=(256, 1, 1, 1)).astype(np.float32)
    out = tmp_path / "run"

    with pytest.raises(TrainingDivergedError, match=r"not finite at 0\.192 kimg") as caught:
        train(toy_config(), DatasetWithNaN("poisoned", values), out)

    assert all(name in str(caught.value) for name in STATS)
    assert "The last checkpoint is kept. Lower lr or raise gamma" in str(caught.value)
    assert [p.name for p in checkpoint.list_paths(out)] == ["checkpoint-000000000064.pt", "checkpoint-000000000128.pt"]
    state = checkpoint.load(checkpoint.list_paths(out)[-1])["trainer"]
    assert all(value.isfinite().all() for name in ("G", "D", "ema") for value in state[name].values())


def test_an_exploding_learning_rate_stops_the_run(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    with pytest.raises(TrainingDivergedError, match=r"not finite .*loss_D nan"):
        train(tiny_config("lr={start: 1.0e+9, end: 1.0e+9}"), tiny_data, tmp_path / "run")


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_of_nan_are_never_saved(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, seed: int) -> None:
    """With this rate, an update overflows although its losses are finite."""
    exploding = tiny_config("lr={start: 5.0e+4, end: 5.0e+4}", "tick_kimg=0.016", f"seed={seed}")
    with pytest.raises(TrainingDivergedError):
        train(exploding, tiny_data, tmp_path / "run")

    for path in checkpoint.list_paths(tmp_path / "run"):
        state = checkpoint.load(path)["trainer"]
        assert all(value.isfinite().all() for name in ("G", "D", "ema") for value in state[name].values()), path.name


def test_stats_with_a_loss_of_nan_stay_json(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    with pytest.raises(TrainingDivergedError):
        train(tiny_config("lr={start: 1.0e+9, end: 1.0e+9}"), tiny_data, tmp_path / "run")

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_a_discriminator_that_has_won_stops_the_run(tmp_path: Path) -> None:
    """There is no penalty, and the generator is very far from the data."""
    config = toy_config("gamma={start: 0, end: 0}", "lr={start: 0.001, end: 0.001}")

    with pytest.raises(TrainingDivergedError, match=r"has won at 0\.192 kimg") as caught:
        train(config, FAR, tmp_path / "run")

    assert "margins 8" in str(caught.value)
    assert "raise gamma" in str(caught.value)
    assert [line["acc_pair"] for line in read_ticks(tmp_path / "run")] == [1.0] * divergence.WON_TICKS
    # No checkpoint, so that the same command detects it again.
    assert checkpoint.list_paths(tmp_path / "run") == []


def test_the_end_is_saved_though_the_discriminator_may_have_won(tmp_path: Path) -> None:
    config = toy_config("gamma={start: 0, end: 0}", "lr={start: 0.001, end: 0.001}", "total_kimg=0.128")

    train(config, FAR, tmp_path / "run")

    assert [line["acc_pair"] for line in read_ticks(tmp_path / "run")] == [1.0, 1.0]
    assert [path.name for path in checkpoint.list_paths(tmp_path / "run")] == ["checkpoint-000000000128.pt"]
