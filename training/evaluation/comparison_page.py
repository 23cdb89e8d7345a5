"""Renders runs side by side as one self-contained page: settings that differ, results, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from training.evaluation import page
from training.evaluation.curves import Chart, Line, draw_svg
from training.runs.comparison import Panel

TEMPLATE = "comparison.html.j2"
# Styles of lines in page.css; further runs begin again.
LINE_STYLES = 16


class ComparisonTable(NamedTuple):
    """A table as it is shown: runs are columns.

    Attributes:
        names: of the runs.
        settings: rows of a name and a text per run.
        results: the same.
        notes: what a reader must know of the results, in sentences.
    """

    names: Sequence[str]
    settings: Sequence[Sequence[str]]
    results: Sequence[Sequence[str]]
    notes: Sequence[str]


def render_comparison(table: ComparisonTable, panels: Sequence[Panel]) -> str:
    """Render the page; it refers to no other file."""
    charts = []
    for panel in panels:
        lines = [Line(points, panel.has_marks) for points in panel.lines]
        charts.append(Chart(panel.title, tuple(table.names), draw_svg(lines)))
    styles = [k % LINE_STYLES for k in range(len(table.names))]
    return page.render(TEMPLATE, table=table, charts=charts, runs=list(zip(table.names, styles)))
