"""Reporting to MLflow. Tests that need MLflow are skipped if it is not installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from models.errors import InputError, TrainingDivergedError
from training.config import Config
from training.data.dataset import Dataset
from training.runs import checkpoint, loop
from training.runs.mlflow_logger import RUN_ID_FILE, require_trackers
from training.runs.score_record import read_score_records

MakeConfig = Callable[..., Config]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return mlflow.MlflowClient(uri)


def test_a_tracker_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(InputError, match="--track: mlflow is not installed; install it with: pip install mlflow"):
        require_trackers(["mlflow"])


@pytest.mark.filterwarnings("default")
def test_a_resumed_run_reports_to_its_own_mlflow_run(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, client: Any
) -> None:
    out = tmp_path / "run"
    loop.run(tiny_config("total_kimg=0.128"), tiny_data, out, "cpu", "ganmint train", ["mlflow"])
    loop.run(tiny_config("total_kimg=0.256"), tiny_data, out, "cpu", "ganmint train", ["mlflow"])

    (mlflow_run,) = client.search_runs([client.get_experiment_by_name("ganmint").experiment_id])
    assert mlflow_run.info.run_id == (out / RUN_ID_FILE).read_text().strip()
    assert (mlflow_run.info.run_name, mlflow_run.info.status) == ("run", "FINISHED")
    assert mlflow_run.data.params["lr.start"] == "0.001" and mlflow_run.data.params["generator.widths"] == "[8, 4]"
    history = [(m.step, m.value) for m in client.get_metric_history(mlflow_run.info.run_id, "loss_D")]
    ticks = [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]
    assert history == [(round(tick["kimg"] * 1000), tick["loss_D"]) for tick in ticks]


@pytest.mark.filterwarnings("default")
def test_a_run_unknown_to_mlflow_is_created_again(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
        loop.run(tiny_config("total_kimg=0.064"), tiny_data, out, "cpu", "ganmint train", ["mlflow"])

    loop.run(tiny_config("total_kimg=0.128"), tiny_data, out, "cpu", "ganmint train", ["mlflow"])

    (mlflow_run,) = client.search_runs([client.get_experiment_by_name("ganmint").experiment_id])
    assert mlflow_run.info.run_id == (out / RUN_ID_FILE).read_text().strip()


class FailingClient:
    """Stands in for MLflow's client, whose server fails after a run was created; keeps what it was asked."""

    def __init__(self, uri: str) -> None:
        self.batches: list[str] = []
        self.statuses: list[str] = []

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id="1")

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(run_id="a"))

    def log_param(self, run_id: str, name: str, value: object) -> None: ...

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        self.batches.append(run_id)
        raise FailingError("the server is away\nand more")

    def set_terminated(self, run_id: str, status: str) -> None:
        self.statuses.append(status)
        raise FailingError


class FailingError(Exception):
    """Stands in for MlflowException."""


@pytest.fixture
def failing_client(monkeypatch: pytest.MonkeyPatch) -> FailingClient:
    client = FailingClient("")
    entities = SimpleNamespace(Metric=lambda *values: values)
    mlflow = SimpleNamespace(entities=entities, MlflowClient=lambda uri: client, MlflowException=FailingError)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return client


def test_training_goes_on_without_a_server_that_fails(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    failing_client: FailingClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loop.run(tiny_config("total_kimg=0.128"), tiny_data, tmp_path / "run", "cpu", "ganmint train", ["mlflow"])

    newest = checkpoint.latest_path(tmp_path / "run")
    assert newest and checkpoint.count_images(newest) == 128
    # It is left alone for a while, then told the end.
    assert failing_client.batches == ["a"] and failing_client.statuses == ["FINISHED"]
    assert capsys.readouterr().err == "Warning: a report to mlflow failed, and the work goes on: the server is away\n"


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (TrainingDivergedError("no"), "FAILED")]
)
def test_mlflow_is_told_how_a_training_ended_before_its_end(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    failing_client: FailingClient,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
) -> None:
    monkeypatch.setattr(loop, "_train", Mock(side_effect=error))

    with pytest.raises(type(error)):
        loop.run(tiny_config(), tiny_data, tmp_path / "run", "cpu", "ganmint train", ["mlflow"])

    assert failing_client.statuses == [status]


@pytest.mark.filterwarnings("default")
def test_a_sweep_reports_the_scores_of_every_run(tmp_path: Path, client: Any) -> None:
    out = tmp_path / "sweep"
    arguments = ["sweep", "--preset", "toy1d", "--out", str(out), "--seeds", "0,1", "--set", "total_kimg=1"]

    for _ in range(2):
        result = CliRunner().invoke(cli, [*arguments, "--track", "mlflow"])
        assert result.exit_code == 0, result.output

    folders = [path.parent for path in out.glob(f"*/{RUN_ID_FILE}")]
    assert len(folders) == 2
    for folder in folders:
        run_id = (folder / RUN_ID_FILE).read_text().strip()
        assert client.get_run(run_id).info.status == "FINISHED"
        (record,) = read_score_records(folder)
        # One value each: the second time, finished runs are skipped.
        reported = {
            name: [(m.step, m.value) for m in client.get_metric_history(run_id, f"evaluation/{name}")]
            for name in record.scores
        }
        assert record.kimg
        assert reported == {name: [(round(record.kimg * 1000), value)] for name, value in record.scores.items()}
