"""The report's files: report.json and one self-contained report.html.

Knows: the template, and that both files are whole or not there. Does not know: how anything was
measured.
"""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import jinja2

from models.files import write_atomically
from training.evaluation.curves import charts
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.report import Report, verdict_words
from training.runs.run_dir import REPORT_FILE

HTML_FILE = "report.html"
TEMPLATE = Path(__file__).with_name("report.html.j2")


def write(outcome: EvaluationResult, folder: Path, run: Path | None = None) -> Path:
    """Write both files into a folder, made if missing.

    Args: run, the run folder whose curves are shown.
    Returns: the page.
    """
    write_atomically(folder / REPORT_FILE, outcome.report.model_dump_json(indent=2).encode() + b"\n")
    write_atomically(folder / HTML_FILE, html(outcome, run).encode())
    return folder / HTML_FILE


def html(outcome: EvaluationResult, run: Path | None = None) -> str:
    """The page; needs nothing outside itself."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["data"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.1f}"
    template = environment.from_string(TEMPLATE.read_text())
    sections = {
        name: list(group)
        for name, group in itertools.groupby(sorted(outcome.pictures, key=lambda p: p.section), lambda p: p.section)
    }
    # Without thresholds there is no verdict to headline.
    state = "passed" if outcome.report.verdict.passed else "failed" if outcome.report.verdict.checks else "none"
    return template.render(
        report=outcome.report,
        state=state,
        words=verdict_words(outcome.report),
        sections=sections,
        charts=charts(run) if run else [],
        worst={name: _worst(outcome.report, name) for name in ("gan_train", "gan_test")},
    )


def _worst(report: Report, column: str) -> float:
    """The largest share that a class misses, which gets the longest bar."""
    return max((1 - value for row in report.classes if (value := getattr(row, column)) is not None), default=0.0)
