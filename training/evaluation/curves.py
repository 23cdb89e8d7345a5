"""Draws the training curves of a run as SVG; the page's style sheet gives the colours."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training.runs.run_dir import STATS_FILE

# In pixels: the drawing, and its margins.
WIDTH = 420
HEIGHT = 200
LEFT = 48
RIGHT = 12
TOP = 10
BOTTOM = 26
MAX_POINTS = 300


class Panel(NamedTuple):
    """Curves to draw together.

    Attributes:
        title: the heading.
        lines: columns of stats.jsonl, and how their lines are called.
        is_logarithmic: of the vertical axis.
    """

    title: str
    lines: dict[str, str]
    is_logarithmic: bool = False


PANELS = (
    Panel("Losses", {"loss_G": "generator", "loss_D": "discriminator"}),
    Panel("Discriminator's accuracy", {"acc_real": "on real", "acc_fake": "on generated", "acc_pair": "in pairs"}),
    Panel("Squared gradient norms", {"r1": "R1, on real", "r2": "R2, on generated"}, is_logarithmic=True),
    Panel("Images per second", {"images_per_second": ""}),
)


class Line(NamedTuple):
    """Points (kimg, value) in order; with marks where each point is a measurement by itself."""

    points: Sequence[tuple[float, float]]
    has_marks: bool = False


class Chart(NamedTuple):
    """A drawn panel: its title, the names of its lines in order, the SVG, and what it shows, in words."""

    title: str
    names: tuple[str, ...]
    svg: str
    caption: str = ""


def draw_charts(run: Path) -> list[Chart]:
    """Draw the panels of a run's stats.jsonl that have at least two points a line."""
    try:
        rows = [json.loads(line) for line in (run / STATS_FILE).read_text().splitlines()]
    except (OSError, ValueError):
        return []
    charts = []
    for panel in PANELS:
        lines = [read_line(rows, column, panel.is_logarithmic) for column in panel.lines]
        if all(len(line.points) > 1 for line in lines):
            charts.append(Chart(panel.title, tuple(panel.lines.values()), draw_svg(lines, panel.is_logarithmic)))
    return charts


def read_line(rows: Sequence[object], column: str, is_logarithmic: bool = False) -> Line:
    """Return a column of stats.jsonl over kimg: at most MAX_POINTS points, without values that cannot be drawn."""
    rows = rows[:: math.ceil(len(rows) / MAX_POINTS) or 1]
    return Line(
        [
            (row["kimg"], row[column])
            for row in rows
            if isinstance(row, Mapping) and _is_drawable(row, column, is_logarithmic)
        ]
    )


def _is_drawable(row: Mapping[str, object], column: str, is_logarithmic: bool) -> bool:
    kimg, value = row.get("kimg"), row.get(column)
    if not isinstance(kimg, int | float) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and (value > 0 or not is_logarithmic)


def draw_svg(lines: Sequence[Line], is_logarithmic: bool = False, real: float | None = None) -> str:
    """Draw lines over kimg; the style of the k-th line is `line{k}`.

    Args:
        lines: of which at least one has a point; on a logarithmic axis, values are above 0.
        is_logarithmic: of the vertical axis.
        real: what real images reach, a line across; None for none.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [_to_axis(y, is_logarithmic) for line in lines for _, y in line.points]
    ys += [] if real is None else [_to_axis(real, is_logarithmic)]
    pad = 0.06 * (max(ys) - min(ys)) or 0.5
    low = min(ys) - pad
    high = max(ys) + pad
    x_of = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_of = _scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for tick in _choose_ticks(low, high, is_logarithmic):
        y = y_of(tick)
        label = f"{10**tick:.3g}" if is_logarithmic else f"{tick:.4g}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>')
    for tick in _choose_ticks(min(xs), max(xs), is_logarithmic=False):
        # Leave room for the unit at the end.
        if x_of(tick) < WIDTH - RIGHT - 45:
            parts.append(f'<text x="{x_of(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">kimg</text>')
    if real is not None:
        y = y_of(_to_axis(real, is_logarithmic))
        parts.append(f'<line class="real" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for k, line in enumerate(lines):
        points = [f"{x_of(x):.1f},{y_of(_to_axis(y, is_logarithmic)):.1f}" for x, y in line.points]
        parts.append(f'<polyline class="line line{k}" points="{" ".join(points)}"/>')
        if line.has_marks:
            places = [point.split(",") for point in points]
            parts += [f'<circle class="line{k}" cx="{x}" cy="{y}" r="3.5"/>' for x, y in places]
    return "".join([*parts, "</svg>"])


def _to_axis(value: float, is_logarithmic: bool) -> float:
    return math.log10(value) if is_logarithmic else value


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return the linear map from low .. high to start .. end."""
    slope = (end - start) / ((high - low) or 1.0)
    return lambda value: start + (value - low) * slope


def _choose_ticks(low: float, high: float, is_logarithmic: bool) -> list[float]:
    """Return about five round numbers from low to high, exponents of ten on a logarithmic axis."""
    if is_logarithmic:
        rounds = [math.log10(m) + k for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        inside = [tick for tick in rounds if low <= tick <= high]
        return inside if len(inside) <= 5 else [tick for tick in inside if tick == round(tick)]
    step = (high - low) / 5 or 1.0
    magnitude = 10 ** math.floor(math.log10(step))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= step)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
