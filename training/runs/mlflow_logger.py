"""Report ticks and scores to MLflow too. MLflow is imported only here, and only when it is used."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from models.errors import InputError, first_line
from models.files import write_atomically
from training.config import Config
from training.runs.loggers import Logger, Tick
from training.runs.run_dir import flatten
from training.runs.score_record import ScoreRecord

EXPERIMENT = "ganmint"
# Used unless MLFLOW_TRACKING_URI is set.
DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
# In the run folder: the id of its run in MLflow.
RUN_ID_FILE = "mlflow.txt"
# How long a server that failed is left alone: MLflow may try for minutes before it says so, and training waits.
PAUSE_S = 600.0


class MLflowLogger(Logger):
    """Reports to one run in MLflow per run folder; a resumed run continues there.

    A server that fails later is warned of once, and training goes on; what is not reported is in the folder.

    Args:
        out: the run folder.
        config: its settings become the parameters of MLflow's run.
    Raises: InputError for --track when MLflow cannot be reached.
    """

    def __init__(self, out: Path, config: Config) -> None:
        import mlflow

        self._metric = mlflow.entities.Metric
        self._failures = (mlflow.MlflowException, OSError)
        self._has_warned = False
        self._paused_until_s = -math.inf
        try:
            self._client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_TRACKING_URI))
            self._run_id = self._reopen_run(out) or self._create_run(out, config)
        except self._failures as error:
            raise InputError(f"mlflow cannot be used: {first_line(error)}", "--track") from None

    def _reopen_run(self, out: Path) -> str:
        """Reopen the run that this folder's earlier ticks were reported to; return its id, or "" without one."""
        path = out / RUN_ID_FILE
        if not path.is_file():
            return ""
        run_id = path.read_text().strip()
        runs = self._client.search_runs(self._experiment_ids(), f"attributes.run_id = '{run_id}'")
        if not runs:
            return ""
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _create_run(self, out: Path, config: Config) -> str:
        experiment = (self._experiment_ids() or [self._client.create_experiment(EXPERIMENT)])[0]
        run_id: str = self._client.create_run(experiment, run_name=out.resolve().name).info.run_id
        for name, value in flatten(config.model_dump(mode="json")).items():
            self._client.log_param(run_id, name, value)
        write_atomically(out / RUN_ID_FILE, run_id.encode() + b"\n")
        return run_id

    def _experiment_ids(self) -> list[str]:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        return [experiment.experiment_id] if experiment else []

    def log_tick(self, tick: Tick) -> None:
        images = round(tick.kimg * 1000)
        values = {name: value for name, value in dataclasses.asdict(tick).items() if math.isfinite(value)}
        metrics = [self._metric(name, value, 0, images) for name, value in values.items()]
        if time.monotonic() >= self._paused_until_s:
            self._try(self._client.log_batch, metrics)

    def log_scores(self, record: ScoreRecord) -> None:
        """Report what an evaluation found, as metrics such as validation/fd, at the images shown until then."""
        images = round((record.kimg or 0) * 1000)
        part = record.basis.split or "evaluation"
        metrics = [self._metric(f"{part}/{name}", value, 0, images) for name, value in record.scores.items()]
        self._try(self._client.log_batch, metrics)

    def close(self, error: BaseException | None = None) -> None:
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED" if error else "FINISHED"
        self._try(self._client.set_terminated, status)

    def _try(self, send: Callable[..., object], value: object) -> None:
        """Send something about the run; a failure only causes a warning, the first time, and a pause."""
        try:
            send(self._run_id, value)
        except self._failures as error:
            self._paused_until_s = time.monotonic() + PAUSE_S
            if not self._has_warned:
                print(
                    f"Warning: a report to mlflow failed, and the work goes on: {first_line(error)}",
                    file=sys.stderr,
                    flush=True,
                )
            self._has_warned = True


# By the name of the package that each one needs.
TRACKERS = {"mlflow": MLflowLogger}


def require_trackers(names: Sequence[str]) -> None:
    """Check that the packages of these trackers are installed.

    Args: names of TRACKERS.
    Raises: InputError for --track.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is not installed; install it with: pip install {name}", "--track")
