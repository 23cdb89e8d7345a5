"""Writes the report's files: report.json and one self-contained report.html."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from models.files import write_atomically
from training.evaluation import page
from training.evaluation.curves import Chart, draw_charts
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.report import Report, describe_missing
from training.evaluation.summary import summarise
from training.runs.run_dir import REPORT_FILE
from training.runs.score_record import ScoreRecord, add_score_record

HTML_FILE = "report.html"
TEMPLATE = "report.html.j2"


def write_report(evaluation: EvaluationResult, folder: Path, run: Path | None = None) -> Path:
    """Write both files into a folder, which is created if missing, and add the scores to the run's.

    Args:
        evaluation: the report and its pictures.
        folder: where to write.
        run: the run folder that the generator is of; its training curves are shown.

    Returns:
        The path of the page.
    """
    report = evaluation.report.model_dump_json(indent=2)
    write_atomically(folder / REPORT_FILE, report.encode() + b"\n")
    write_atomically(folder / HTML_FILE, render_html(evaluation, run).encode())
    if run and evaluation.report.kimg is not None:
        add_score_record(run, ScoreRecord.from_report(json.loads(report)))
    return folder / HTML_FILE


def render_html(evaluation: EvaluationResult, run: Path | None = None) -> str:
    """Render the page; it refers to no other file."""
    pictures = sorted(evaluation.pictures, key=lambda picture: picture.section)
    sections = {name: list(group) for name, group in itertools.groupby(pictures, lambda picture: picture.section)}
    charts: list[Chart] = draw_charts(run) if run else []
    return page.render(
        TEMPLATE,
        report=evaluation.report,
        gate_state=_gate_state(evaluation.report),
        summary=summarise(evaluation.report),
        missing=describe_missing(evaluation.report.metrics),
        sections=sections,
        charts=charts,
        worst_error={name: _worst_error(evaluation.report, name) for name in ("gan_train", "gan_test")},
    )


def _gate_state(report: Report) -> str:
    """Return the class of the style sheet: without thresholds there is nothing to pass or to fail."""
    if not report.gate.checks:
        return "none"
    return "passed" if report.gate.passed else "failed"


def _worst_error(report: Report, column: str) -> float:
    """Return the largest error of a class, which gets the longest bar."""
    values = [getattr(row, column) for row in report.classes]
    return max((1 - value for value in values if value is not None), default=0.0)
