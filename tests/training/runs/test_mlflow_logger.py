"""Reporting to MLflow. Tests that need MLflow are skipped if it is not installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from models.errors import InputError
from training.config import Config
from training.data.dataset import Dataset
from training.runs import loop
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
