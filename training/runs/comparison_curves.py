"""Curves of runs side by side: scores of snapshots, scores of whole reports, and training, each by kimg."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from training.metric_results import describe_metric
from training.runs.comparison import RunSummary
from training.runs.snapshot_record import SCORED

SNAPSHOTS = "Scores by kimg"
REPORTS = "Scores of whole reports by kimg"
TRAINING = "Training"
# In the order in which they are shown.
SECTIONS = (SNAPSHOTS, REPORTS, TRAINING)


class _TickColumn(NamedTuple):
    """A column of stats.jsonl: its title and meaning, and whether 0 means that a run does without."""

    title: str
    meaning: str
    better: str = ""
    is_optional: bool = False


_TICK_COLUMNS = {
    "acc_pair": _TickColumn("D right in pairs", "share of pairs in which D ranks the real image higher; 50% by chance"),
    "acc_real": _TickColumn("D right on real", "share of real images that D tells as real; 50% by chance"),
    "acc_fake": _TickColumn(
        "D right on generated", "share of generated images that D tells as generated; 50% by chance"
    ),
    "recon_loss": _TickColumn(
        "Reconstruction", "squared distance of real images to their reconstructions", "lower", is_optional=True
    ),
    "kl": _TickColumn("KL divergence", "of the encoder's latents from the prior, in nats", is_optional=True),
    "images_per_second": _TickColumn("Images per second", "on the machine that trained it, with all it had to do"),
}
# Metrics that fall by orders of magnitude.
_LOGARITHMIC = ("fd",)


class Curves(NamedTuple):
    """Curves of one quantity, a line per run in the runs' order; a run without it has no points.

    Attributes:
        section: one of SECTIONS.
        title: of the quantity.
        better: "higher", "lower" or "near 1"; empty if that cannot be said.
        meaning: what it is.
        lines: points (kimg, value).
        format_spec: the format specification of its values.
        real: what real images reach; None if that is unknown, or not the same for all runs.
        is_logarithmic: of the vertical axis.
    """

    section: str
    title: str
    better: str
    meaning: str
    lines: Sequence[Sequence[tuple[float, float]]]
    format_spec: str = ".4g"
    real: float | None = None
    is_logarithmic: bool = False

    @property
    def has_marks(self) -> bool:
        """Whether each point is a measurement by itself, else a tick."""
        return self.section != TRAINING


def collect_curves(runs: Sequence[RunSummary], with_scores: bool, with_snapshot_scores: bool) -> list[Curves]:
    """Return the curves that at least one run has.

    Args:
        runs: in order.
        with_scores: whether the scores of reports are shown.
        with_snapshot_scores: whether those of snapshots are.
    """
    curves = collect_snapshot_curves(runs) if with_snapshot_scores else []
    curves += _collect_report_curves(runs) if with_scores else []
    for name, column in _TICK_COLUMNS.items():
        lines = [_tick_line(run, name, column.is_optional) for run in runs]
        if any(len(line) > 1 for line in lines):
            curves.append(Curves(TRAINING, column.title, column.better, column.meaning, lines))
    return curves


def collect_snapshot_curves(runs: Sequence[RunSummary]) -> list[Curves]:
    """Return the scores of snapshots by kimg, with those of real images where all runs were compared with the same."""
    scored = [run.snapshots for run in runs if run.snapshots]
    is_one_basis = len({scores.basis for scores in scored}) == 1
    found = []
    for name in SCORED:
        lines = [_snapshot_line(run, name) for run in runs]
        real = next((scores.real[name] for scores in scored if name in scores.real), None) if is_one_basis else None
        if any(lines):
            found.append(_score_curves(SNAPSHOTS, name, lines, real))
    return found


def _collect_report_curves(runs: Sequence[RunSummary]) -> list[Curves]:
    """Return the scores of reports by kimg, of metrics that a run has at two states; the table has the newest."""
    names = dict.fromkeys(name for run in runs for record in run.records for name in record.scores)
    lines = {name: [_report_line(run, name) for run in runs] for name in names}
    return [_score_curves(REPORTS, name, lines[name]) for name in names if any(len(line) > 1 for line in lines[name])]


def _score_curves(
    section: str, name: str, lines: Sequence[Sequence[tuple[float, float]]], real: float | None = None
) -> Curves:
    info = describe_metric(name)
    values = [value for line in lines for _, value in line] + ([] if real is None else [real])
    return Curves(
        section,
        capitalise(info.title),
        info.better,
        info.meaning,
        lines,
        info.format_spec,
        real,
        is_logarithmic=name.endswith(_LOGARITHMIC) and min(values) > 0,
    )


def _snapshot_line(run: RunSummary, name: str) -> list[tuple[float, float]]:
    scores = run.snapshots.scores if run.snapshots else ()
    values = [(score.kimg, getattr(score, name)) for score in scores]
    return [(kimg, value) for kimg, value in values if value is not None]


def _report_line(run: RunSummary, name: str) -> list[tuple[float, float]]:
    """Return a run's scores by kimg, of the newest evaluation's basis only."""
    return sorted(
        (record.kimg, record.scores[name])
        for record in run.records
        if record.kimg is not None and record.basis == run.evaluation.basis and name in record.scores
    )


def _tick_line(run: RunSummary, name: str, is_optional: bool) -> list[tuple[float, float]]:
    points = [(tick["kimg"], tick[name]) for tick in run.ticks if math.isfinite(tick.get(name, math.nan))]
    return [] if is_optional and not any(value for _, value in points) else points


def capitalise(text: str) -> str:
    """Begin a text with a capital; the rest, which may hold names, stays."""
    return text[:1].upper() + text[1:]
