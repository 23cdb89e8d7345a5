"""MLflow as a further place that ticks are reported to.

Knows: how a run folder and a run in MLflow belong together. Does not know: what the figures mean.
MLflow is loaded here alone, and only when it is asked for.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
from collections.abc import Sequence
from pathlib import Path

from models.errors import InputError
from models.files import write_atomically
from training.config import Config
from training.runs.loggers import Logger, Tick
from training.runs.run_dir import flat

EXPERIMENT = "ganmint"
DATABASE = "sqlite:///mlflow.db"
# Beside config.yaml: which of MLflow's runs this is.
RUN_ID = "mlflow.txt"


class MLflow(Logger):
    """One run in MLflow per run folder; a resumed one goes on in the same.

    Where MLFLOW_TRACKING_URI does not say otherwise, it is kept in mlflow.db in the current folder.

    Args:
        out: the run folder.
        config: its settings become the run's parameters.
    Raises: InputError for --track when MLflow cannot be reached.
    """

    def __init__(self, out: Path, config: Config) -> None:
        import mlflow

        self._metric = mlflow.entities.Metric
        try:
            self._client = mlflow.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", DATABASE))
            self._run_id = self._found(out) or self._begun(out, config)
        except (mlflow.MlflowException, OSError) as error:
            raise InputError(f"mlflow cannot be used: {str(error).splitlines()[0]}", "--track") from None

    def _found(self, out: Path) -> str:
        """The run that this folder's earlier ticks went to, open again; "" if there is none."""
        path = out / RUN_ID
        if not path.is_file():
            return ""
        run_id = path.read_text().strip()
        known = self._client.search_runs(self._experiment_ids(), f"attributes.run_id = '{run_id}'")
        if not known:
            return ""
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _begun(self, out: Path, config: Config) -> str:
        experiment = (self._experiment_ids() or [self._client.create_experiment(EXPERIMENT)])[0]
        run_id: str = self._client.create_run(experiment, run_name=out.resolve().name).info.run_id
        for name, value in flat(config.model_dump(mode="json")).items():
            self._client.log_param(run_id, name, value)
        write_atomically(out / RUN_ID, run_id.encode() + b"\n")
        return run_id

    def _experiment_ids(self) -> list[str]:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        return [found.experiment_id] if found else []

    def tick(self, tick: Tick) -> None:
        images = round(tick.kimg * 1000)
        values = {name: value for name, value in dataclasses.asdict(tick).items() if math.isfinite(value)}
        self._client.log_batch(self._run_id, [self._metric(name, value, 0, images) for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


TRACKERS = {"mlflow": MLflow}


def require(names: Sequence[str]) -> None:
    """Whether what these need is installed.

    Args: names of TRACKERS, each also its package's.
    Raises: InputError for --track.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is not installed; install it with: pip install {name}", "--track")
