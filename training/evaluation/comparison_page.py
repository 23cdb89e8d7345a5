"""Renders runs side by side as one self-contained page: settings that differ, results, and curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from training.evaluation import page
from training.evaluation.curves import Chart, Line, draw_svg
from training.runs.comparison_curves import SECTIONS, SNAPSHOTS, Curves, capitalise

TEMPLATE = "comparison.html.j2"
# Styles of lines in page.css; further runs begin again.
LINE_STYLES = 16


class ComparisonTable(NamedTuple):
    """A table as it is shown: runs are columns.

    Attributes:
        names: of the runs.
        settings: rows of a name and a text per run.
        results: the same.
        scores_by_kimg: the same, of snapshots; the page draws them as curves.
        notes: what a reader must know of the results, in sentences.
        snapshot_notes: what there is to say of the scores of snapshots, in sentences.
    """

    names: Sequence[str]
    settings: Sequence[Sequence[str]]
    results: Sequence[Sequence[str]]
    scores_by_kimg: Sequence[Sequence[str]]
    notes: Sequence[str]
    snapshot_notes: Sequence[str]


class _Section(NamedTuple):
    """Charts under a heading, after sentences; `has_real` where a line stands for real images."""

    title: str
    notes: Sequence[str]
    charts: Sequence[Chart]
    has_real: bool


def render_comparison(table: ComparisonTable, curves: Sequence[Curves]) -> str:
    """Render the page; it refers to no other file."""
    styles = [k % LINE_STYLES for k in range(len(table.names))]
    return page.render(
        TEMPLATE,
        table=table,
        sections=list(_make_sections(table, curves)),
        runs=list(zip(table.names, styles)),
    )


def _make_sections(table: ComparisonTable, curves: Sequence[Curves]) -> Iterable[_Section]:
    for title in SECTIONS:
        shown = [one for one in curves if one.section == title]
        notes = table.snapshot_notes if title == SNAPSHOTS else ()
        if shown or notes:
            has_real = any(one.real is not None for one in shown)
            yield _Section(title, notes, [_draw(one, table.names) for one in shown], has_real)


def _draw(curves: Curves, names: Sequence[str]) -> Chart:
    lines = [Line(points, curves.has_marks) for points in curves.lines]
    svg = draw_svg(lines, curves.is_logarithmic, curves.real)
    better = f"{curves.better} is better: " if curves.better else ""
    return Chart(curves.title, tuple(names), svg, capitalise(better + curves.meaning))
