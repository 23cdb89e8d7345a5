"""Compare runs: the settings in which they differ, and their results."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import FileError, InputError
from training.config import load_config
from training.runs.run_dir import CONFIG_FILE, MUTABLE_FIELDS, STATS_FILE, flatten, report_path, require_run

# Results are means over this many last ticks, because single ticks are noisy.
LAST_TICKS = 5
CURVES = ("loss_G", "loss_D", "acc_pair", "r1")
# Settings that do not change what a run learns.
_IGNORED_SETTINGS = {"preset", "total_kimg", *MUTABLE_FIELDS}


@dataclass(frozen=True)
class Evaluation:
    """The newest evaluation of a run.

    Attributes:
        scores: metrics by name.
        kimg: how long the evaluated generator had been trained; None if the report does not state it.
        data_name: the name of the real images; empty if the report does not state it.
        data_digest: the digest of the real images; empty likewise.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    kimg: float | None = None
    data_name: str = ""
    data_digest: str = ""


@dataclass(frozen=True)
class RunSummary:
    """The settings and the results of one run.

    Attributes:
        name: the folder, as the user gave it.
        settings: values by dotted name.
        ticks: the lines of stats.jsonl, at least one.
        evaluation: the newest evaluation; without scores if there is none.
    """

    name: str
    settings: Mapping[str, Any]
    ticks: Sequence[Mapping[str, float]]
    evaluation: Evaluation

    def results(self) -> dict[str, float]:
        """Return the run's kimg, speed, means over the last ticks, and scores."""
        kimg = self.ticks[-1]["kimg"]
        # The median, because a tick may be cut short by a signal or include the machine's sleep.
        images_per_second = statistics.median(tick["images_per_second"] for tick in self.ticks)
        last_ticks = self.ticks[-LAST_TICKS:]
        means = {name: statistics.fmean(tick.get(name, math.nan) for tick in last_ticks) for name in CURVES}
        results = {"kimg": kimg, "images/s": images_per_second, **means}
        # The scores are of an earlier state if training went on after the evaluation.
        scored_kimg = self.evaluation.kimg
        if scored_kimg is not None and scored_kimg != kimg:
            results["scored at kimg"] = scored_kimg
        return results | dict(self.evaluation.scores)


def read_run(path: Path) -> RunSummary:
    """Read a run's folder.

    Raises: FileError naming the file at fault.
    """
    require_run(path)
    settings = flatten(load_config(path / CONFIG_FILE).model_dump(mode="json"))
    return RunSummary(str(path), settings, _read_ticks(path), _read_evaluation(report_path(path)))


def read_runs(paths: Sequence[Path]) -> list[RunSummary]:
    """Read several runs, in order.

    Raises: InputError for RUN when one is given twice; FileError.
    """
    for k, path in enumerate(paths):
        if path.resolve() in {other.resolve() for other in paths[:k]}:
            raise InputError(f"{path} is given twice", "RUN")
    return [read_run(path) for path in paths]


def find_differences(runs: Sequence[RunSummary]) -> dict[str, list[Any]]:
    """Return the settings in which the runs differ, one value per run; None if a run lacks the setting."""
    names = dict.fromkeys(
        name for run in runs for name in run.settings if name not in _IGNORED_SETTINGS and not name.startswith("gate.")
    )
    values_by_name = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: values for name, values in values_by_name.items() if any(value != values[0] for value in values)}


def collect_results(runs: Sequence[RunSummary]) -> dict[str, list[float]]:
    """Return the results by name, one value per run; NaN if a run lacks the result."""
    results = [run.results() for run in runs]
    names = dict.fromkeys(name for row in results for name in row)
    return {name: [row.get(name, math.nan) for row in results] for name in names}


def describe_score_data(runs: Sequence[RunSummary]) -> list[str]:
    """Say which run was scored on which data; return nothing if all scores are of the same data."""
    evaluations = {run.name: run.evaluation for run in runs if run.evaluation.data_digest}
    if len({evaluation.data_digest for evaluation in evaluations.values()}) < 2:
        return []
    return [
        f"{name} was scored on {evaluation.data_name} ({evaluation.data_digest[:12]})"
        for name, evaluation in evaluations.items()
    ]


def _read_ticks(run: Path) -> list[dict[str, float]]:
    path = run / STATS_FILE
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        ticks = [{k: math.nan if v is None else float(v) for k, v in line.items()} for line in lines]
    except FileNotFoundError:
        ticks = []
    except (OSError, ValueError, AttributeError, TypeError):
        raise FileError(path, "is damaged; rerun the training command to repair it") from None
    if not ticks:
        raise FileError(run, "has not finished a tick yet; train it first")
    return ticks


def _read_evaluation(path: Path) -> Evaluation:
    try:
        report = json.loads(path.read_text())
        kimg = report.get("kimg")
        data = report.get("data")
        return Evaluation(
            scores={
                str(metric["name"]): float(metric["value"])
                for metric in report["figures"]
                if metric.get("value") is not None
            },
            kimg=None if kimg is None else float(kimg),
            data_name=str(data["name"]) if data else "",
            data_digest=str(data["digest"]) if data else "",
        )
    except FileNotFoundError:
        return Evaluation()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise FileError(path, "is not a report of ganmint evaluate; evaluate the run again") from None
