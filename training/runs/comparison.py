"""Compare runs: the settings in which they differ, and their results."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import FileError, InputError
from training.config_files import load_config
from training.metric_results import MetricResult, is_metric
from training.runs.run_dir import CONFIG_FILE, MUTABLE_FIELDS, STATS_FILE, flatten, require_run
from training.runs.score_record import ScoreRecord, read_score_records

# Results are means over this many last ticks, because single ticks are noisy.
LAST_TICKS = 5
# Columns of stats.jsonl that are drawn as curves: their titles, and whether 0 means that a run does without.
CURVES = {
    "acc_pair": ("D right in pairs", False),
    "acc_real": ("D right on real", False),
    "acc_fake": ("D right on generated", False),
    "recon_loss": ("Reconstruction", True),
    "kl": ("KL divergence, nats", True),
    "images_per_second": ("Images per second", False),
}
MEANS = ("loss_G", "loss_D", "acc_pair", "recon_loss", "r1")
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
    """

    name: str
    settings: Mapping[str, Any]
    ticks: Sequence[Mapping[str, float]]
    records: Sequence[ScoreRecord] = ()

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


class Panel(NamedTuple):
    """Curves of one quantity, a line per run in the runs' order; a run without it has no points.

    Attributes:
        title: of the quantity.
        lines: points (kimg, value).
        has_marks: whether each point is an evaluation, else a tick.
    """

    title: str
    lines: Sequence[Sequence[tuple[float, float]]]
    has_marks: bool


def read_run(path: Path) -> RunSummary:
    """Read a run's folder.

    Raises: FileError naming the file at fault.
    """
    require_run(path)
    settings = flatten(load_config(path / CONFIG_FILE).model_dump(mode="json"))
    return RunSummary(str(path), settings, read_ticks(path), read_score_records(path))


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

    Returns: by the names of the runs, joined by commas, then by metric; empty if no two runs differ in the seed only.
    """
    groups: dict[str, list[RunSummary]] = {}
    for run in runs:
        settings = {name: value for name, value in run.settings.items() if name not in _IGNORED_SETTINGS | {"seed"}}
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    averages = {}
    for group in groups.values():
        scored = [run.evaluation.scores for run in group if run.evaluation.scores]
        if len(scored) > 1:
            names = [name for name in scored[0] if all(name in scores for scores in scored)]
            averages[", ".join(run.name for run in group)] = {
                name: _mean_sd([scores[name] for scores in scored]) for name in names
            }
    return averages


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values)


def describe_bases(runs: Sequence[RunSummary]) -> list[str]:
    """Say by what each run was scored; return nothing if all scores compare."""
    scored = [run for run in runs if run.evaluation.scores]
    if len({run.evaluation.basis for run in scored}) < 2:
        return []
    return [f"{run.name}: {run.evaluation.basis}" for run in scored]


def describe_lengths(runs: Sequence[RunSummary]) -> str:
    """Say how long each run was trained; return an empty text if it is equal."""
    if len({run.judged_kimg for run in runs}) < 2:
        return ""
    lengths = ", ".join(f"{run.name} {run.judged_kimg:g} kimg" for run in runs)
    return f"The results are of different lengths of training: {lengths}"


def collect_panels(runs: Sequence[RunSummary], with_scores: bool = True) -> list[Panel]:
    """Return the curves that at least one run has: scores by kimg first, then those of training."""
    panels = []
    names = dict.fromkeys(name for run in runs for record in run.records for name in record.scores)
    for name in names if with_scores else ():
        lines = [_score_line(run, name) for run in runs]
        if any(lines):
            panels.append(Panel(MetricResult(name=name).info.title if is_metric(name) else name, lines, has_marks=True))
    for name, (title, is_optional) in CURVES.items():
        lines = [_tick_line(run, name, is_optional) for run in runs]
        if any(len(line) > 1 for line in lines):
            panels.append(Panel(title, lines, has_marks=False))
    return panels


def _score_line(run: RunSummary, name: str) -> list[tuple[float, float]]:
    """Return a run's scores by kimg, of the newest evaluation's basis only."""
    return sorted(
        (record.kimg, record.scores[name])
        for record in run.records
        if record.kimg is not None and record.basis == run.evaluation.basis and name in record.scores
    )


def _tick_line(run: RunSummary, name: str, is_optional: bool) -> list[tuple[float, float]]:
    points = [(tick["kimg"], tick[name]) for tick in run.ticks if math.isfinite(tick.get(name, math.nan))]
    return [] if is_optional and not any(value for _, value in points) else points


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
