"""Compare runs: the settings in which they differ, and their results."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import FileError, InputError
from models.evidence import format_kimg
from training.config_files import load_config
from training.metric_results import describe_metric
from training.runs.run_dir import CONFIG_FILE, MUTABLE_FIELDS, STATS_FILE, flatten, require_run
from training.runs.score_record import ScoreRecord, read_score_records
from training.runs.snapshot_record import SnapshotScores, read_snapshot_scores

# Results are means over this many last ticks, because single ticks are noisy.
LAST_TICKS = 5
# Columns of stats.jsonl that are results, and their titles.
MEANS = {
    "loss_G": "loss of G",
    "loss_D": "loss of D",
    "acc_pair": "D right in pairs",
    "recon_loss": "reconstruction",
    "r1": "R1",
}
# Settings that do not change what a run learns.
_IGNORED_SETTINGS = {"preset", *MUTABLE_FIELDS}


@dataclass(frozen=True)
class RunSummary:
    """The settings and the results of one run.

    Attributes:
        name: the folder, as the user gave it.
        settings: values by dotted name.
        ticks: the lines of stats.jsonl, at least one.
        records: its evaluations; the newest report's comes last.
        snapshots: the scores of its snapshots; None if they were not scored.
    """

    name: str
    settings: Mapping[str, Any]
    ticks: Sequence[Mapping[str, float]]
    records: Sequence[ScoreRecord] = ()
    snapshots: SnapshotScores | None = None

    @property
    def evaluation(self) -> ScoreRecord:
        """The newest evaluation; without scores if there is none."""
        return self.records[-1] if self.records else ScoreRecord()

    @property
    def judged_kimg(self) -> float:
        """How long the generator had been trained that the scores are of, or that there is, without scores."""
        scored_kimg = self.evaluation.kimg
        return self.ticks[-1]["kimg"] if scored_kimg is None else scored_kimg

    def results(self, with_scores: bool = True) -> dict[str, float]:
        """Return the run's kimg, speed, means over the last ticks, and scores."""
        kimg = self.ticks[-1]["kimg"]
        # The median, because a tick may be cut short by a signal or include the machine's sleep.
        images_per_second = statistics.median(tick["images_per_second"] for tick in self.ticks)
        last_ticks = self.ticks[-LAST_TICKS:]
        means = {name: statistics.fmean(tick.get(name, math.nan) for tick in last_ticks) for name in MEANS}
        if not means["recon_loss"]:
            del means["recon_loss"]
        results = {"kimg": kimg, "images/s": images_per_second, **means}
        if not with_scores:
            return results
        # The scores are of an earlier state if training went on after the evaluation.
        if self.judged_kimg != kimg:
            results["scored at kimg"] = self.judged_kimg
        return results | dict(self.evaluation.scores)


def read_run(path: Path) -> RunSummary:
    """Read a run's folder.

    Raises: FileError naming the file at fault.
    """
    require_run(path)
    settings = flatten(load_config(path / CONFIG_FILE).model_dump(mode="json"))
    return RunSummary(str(path), settings, read_ticks(path), read_score_records(path), read_snapshot_scores(path))


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


def collect_results(runs: Sequence[RunSummary], with_scores: bool = True) -> dict[str, list[float]]:
    """Return the results by name, one value per run; NaN if a run lacks the result."""
    results = [run.results(with_scores) for run in runs]
    names = dict.fromkeys(name for row in results for name in row)
    return {name: [row.get(name, math.nan) for row in results] for name in names}


def average_over_seeds(runs: Sequence[RunSummary]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return mean and standard deviation of each score over the runs that differ in the seed only.

    Returns: by the names of the runs that have scores, joined by commas, then by metric; empty if no two runs differ in
        the seed only.
    """
    groups: dict[str, list[RunSummary]] = {}
    for run in runs:
        settings = {name: value for name, value in run.settings.items() if name not in _IGNORED_SETTINGS | {"seed"}}
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    averages = {}
    for group in groups.values():
        scores_of = {run.name: run.evaluation.scores for run in group if run.evaluation.scores}
        if len(scores_of) > 1:
            first, *others = scores_of.values()
            names = [name for name in first if all(name in scores for scores in others)]
            averages[", ".join(scores_of)] = {
                name: _mean_sd([scores[name] for scores in (first, *others)]) for name in names
            }
    return averages


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values)


def describe_bases(runs: Sequence[RunSummary]) -> list[str]:
    """Say by what each run was scored; return nothing if all scores compare."""
    return _list_if_different({run.name: run.evaluation.basis for run in runs if run.evaluation.scores})


def describe_snapshot_bases(runs: Sequence[RunSummary]) -> list[str]:
    """Say by what the snapshots of each run were scored; return nothing if all these scores compare."""
    return _list_if_different({run.name: run.snapshots.basis for run in runs if run.snapshots})


def _list_if_different(bases: Mapping[str, Hashable]) -> list[str]:
    return [f"{name}: {basis}" for name, basis in bases.items()] if len(set(bases.values())) > 1 else []


def describe_missing_snapshots(runs: Sequence[RunSummary]) -> list[str]:
    """Say which scores of snapshots are missing, and which command measures them."""
    command = "ganmint evaluate RUN --data DATA --snapshots"
    unscored = [run.name for run in runs if run.settings.get("data.kind") == "images" and not run.snapshots]
    sentences = [f"No scores by kimg of {', '.join(unscored)}: {command} measures them"] if unscored else []
    knows_real = any(run.snapshots.real for run in runs if run.snapshots)
    for run in runs:
        if run.snapshots:
            missing = [describe_metric(name).title for name in run.snapshots.unmeasured]
            missing += [] if knows_real else ["those of real images"]
            if missing:
                sentences.append(f"The scores by kimg of {run.name} lack {', '.join(missing)}: {command} adds them")
    return sentences


def describe_choices(runs: Sequence[RunSummary]) -> list[str]:
    """Say which snapshot of each run is the best."""
    return [f"The best of {run.name} is {run.snapshots.describe_choice()}" for run in runs if run.snapshots]


def describe_lengths(runs: Sequence[RunSummary]) -> str:
    """Say how long each run was trained; return an empty text if it is equal."""
    if len({run.judged_kimg for run in runs}) < 2:
        return ""
    lengths = ", ".join(f"{run.name} {format_kimg(run.judged_kimg)} kimg" for run in runs)
    return f"The results are of different lengths of training: {lengths}"


def read_ticks(run: Path) -> list[dict[str, float]]:
    """Read a run's stats.jsonl; null becomes NaN.

    Raises: FileError when it is damaged, or no tick is finished.
    """
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
