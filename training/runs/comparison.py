"""Runs side by side: where their settings differ, and what came of it.

Knows: how a run's folder is read into settings and results. Does not know: how a table or plot is
printed.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import FileError, InputError
from training.config import load_config
from training.runs import run_dir
from training.runs.run_dir import CONFIG, STATS, flat

# Where ganmint evaluate leaves its figures.
REPORT = Path("evaluation", "report.json")
# Means over so many of the last ticks, for single ones are noisy.
LAST_TICKS = 5
PLOTTED = ("loss_G", "loss_D", "acc_pair", "r1")
# What a run is called, not what it does.
_NAMES = {"preset", "total_kimg", *run_dir.WORDS}


@dataclass(frozen=True)
class Run:
    """What is known of one run.

    Attributes:
        name: the folder, as it was given.
        settings: dotted name -> value.
        ticks: the lines of stats.jsonl, at least one.
        scores: figures of its newest evaluation, by name; empty if there is none.
        scored_at: how far training was at that evaluation, in kimg.
        scored_on: the name and the digest of that evaluation's data.
    """

    name: str
    settings: Mapping[str, Any]
    ticks: Sequence[Mapping[str, float]]
    scores: Mapping[str, float]
    scored_at: float | None = None
    scored_on: tuple[str, str] | None = None

    def results(self) -> dict[str, float]:
        """Where the run stands: kimg, speed, the last ticks' means, scores."""
        last = self.ticks[-LAST_TICKS:]
        # A tick that SIGTERM cut short, or a machine that slept, says little of the speed.
        rate = statistics.median(tick["images_per_second"] for tick in self.ticks)
        means = {name: statistics.fmean(tick.get(name, math.nan) for tick in last) for name in PLOTTED}
        kimg = self.ticks[-1]["kimg"]
        # Trained on since.
        scored = {} if self.scored_at in (None, kimg) else {"scored at kimg": self.scored_at}
        return {"kimg": kimg, "images/s": rate, **means, **scored, **self.scores}


def read(path: Path) -> Run:
    """A run's folder.

    Raises: FileError naming the file at fault.
    """
    if not (path / CONFIG).is_file():
        raise FileError(path, "holds no run (no config.yaml); give the --out folder of a ganmint train")
    settings = flat(load_config(path / CONFIG).model_dump(mode="json"))
    return Run(str(path), settings, _ticks(path), *_scores(path / REPORT))


def read_all(paths: Sequence[Path]) -> list[Run]:
    """Several runs, in order.

    Raises: InputError for RUN when one is given twice; FileError.
    """
    for k, path in enumerate(paths):
        if path.resolve() in {other.resolve() for other in paths[:k]}:
            raise InputError(f"{path} is given twice", "RUN")
    return [read(path) for path in paths]


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The settings in which the runs differ, one value per run; None where a run has no such setting."""
    names = dict.fromkeys(
        name for run in runs for name in run.settings if name not in _NAMES and not name.startswith("gate.")
    )
    values = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def results(runs: Sequence[Run]) -> dict[str, list[float]]:
    """What came of it, one value per run; NaN where a run has no such figure."""
    found = [run.results() for run in runs]
    return {name: [row.get(name, math.nan) for row in found] for name in dict.fromkeys(n for row in found for n in row)}


def _ticks(path: Path) -> list[dict[str, float]]:
    try:
        lines = [json.loads(line) for line in (path / STATS).read_text().splitlines()]
        ticks = [{k: math.nan if v is None else float(v) for k, v in line.items()} for line in lines]
    except FileNotFoundError:
        ticks = []
    except (OSError, ValueError, AttributeError, TypeError):
        raise FileError(path / STATS, "is damaged; run the training's command again to mend it") from None
    if not ticks:
        raise FileError(path, "has not finished a tick yet; train on first")
    return ticks


def incomparable(runs: Sequence[Run]) -> list[str]:
    """Which runs were scored on which data, a sentence each; none where all scores are of the same data."""
    scored = {run.name: run.scored_on for run in runs if run.scored_on}
    if len({digest for _, digest in scored.values()}) < 2:
        return []
    return [f"{run} was scored on {name} ({digest[:12]})" for run, (name, digest) in scored.items()]


def _scores(path: Path) -> tuple[dict[str, float], float | None, tuple[str, str] | None]:
    """The figures, how far training was, and on which data."""
    try:
        report = json.loads(path.read_text())
        scores = {str(f["name"]): float(f["value"]) for f in report["figures"] if f.get("value") is not None}
        at, data = report.get("kimg"), report.get("data")
        return scores, None if at is None else float(at), (str(data["name"]), str(data["digest"])) if data else None
    except FileNotFoundError:
        return {}, None, None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise FileError(path, "is no report of ganmint evaluate; evaluate the run again") from None
