"""A run's curves as SVG.

Knows: which columns of stats.jsonl are drawn together, and how lines are laid out. Colours come from
the page's style sheet. Does not know: HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from training.runs.run_dir import STATS_FILE

WIDTH, HEIGHT = 420, 200
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 26
POINTS = 300

# Title, whether the axis is logarithmic, and its columns with their names.
PANELS: tuple[tuple[str, bool, tuple[tuple[str, str], ...]], ...] = (
    ("Losses", False, (("loss_G", "generator"), ("loss_D", "discriminator"))),
    (
        "Discriminator's accuracy",
        False,
        (("acc_real", "on real"), ("acc_fake", "on generated"), ("acc_pair", "in pairs")),
    ),
    ("Squared gradient norms", True, (("r1", "R1, on real"), ("r2", "R2, on generated"))),
    ("Images per second", False, (("images_per_second", ""),)),
)


class Chart(NamedTuple):
    """One panel: its title, the names of its lines in order, and the drawing."""

    title: str
    names: tuple[str, ...]
    svg: str


def charts(run: Path) -> list[Chart]:
    """The panels of a run's stats.jsonl; none where there are fewer than two ticks."""
    try:
        rows = [json.loads(line) for line in (run / STATS_FILE).read_text().splitlines()]
    except (OSError, ValueError):
        return []
    rows = rows[:: math.ceil(len(rows) / POINTS) or 1]
    drawn = []
    for title, logarithmic, columns in PANELS:
        lines = [[(row["kimg"], row[c]) for row in rows if _drawable(row, c, logarithmic)] for c, _ in columns]
        if all(len(line) > 1 for line in lines):
            drawn.append(Chart(title, tuple(name for _, name in columns), _svg(lines, logarithmic)))
    return drawn


def _drawable(row: object, column: str, logarithmic: bool) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(c), int | float) for c in ("kimg", column)):
        return False
    return math.isfinite(row[column]) and (row[column] > 0 or not logarithmic)


def _svg(lines: Sequence[Sequence[tuple[float, float]]], logarithmic: bool) -> str:
    xs = [x for line in lines for x, _ in line]
    ys = [_axis(y, logarithmic) for line in lines for _, y in line]
    low, high = min(ys), max(ys)
    pad = 0.06 * (high - low) or 0.5
    low, high = low - pad, high + pad
    x_of = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_of = _scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for tick in _ticks(low, high, logarithmic):
        y = y_of(tick)
        label = f"{10**tick:.3g}" if logarithmic else f"{tick:.4g}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>')
    for tick in _ticks(min(xs), max(xs), False):
        # The unit stands at the end.
        if x_of(tick) < WIDTH - RIGHT - 45:
            parts.append(f'<text x="{x_of(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">kimg</text>')
    for k, line in enumerate(lines):
        points = " ".join(f"{x_of(x):.1f},{y_of(_axis(y, logarithmic)):.1f}" for x, y in line)
        parts.append(f'<polyline class="line line{k}" points="{points}"/>')
    return "".join([*parts, "</svg>"])


def _axis(value: float, logarithmic: bool) -> float:
    return math.log10(value) if logarithmic else value


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The linear map of low .. high to start .. end."""
    slope = (end - start) / ((high - low) or 1.0)
    return lambda value: start + (value - low) * slope


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Up to about five round numbers inside low .. high, which are powers of ten on a logarithmic axis."""
    if logarithmic:
        rounds = [math.log10(m) + k for k in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        inside = [tick for tick in rounds if low <= tick <= high]
        return inside if len(inside) <= 5 else [tick for tick in inside if tick == round(tick)]
    step = (high - low) / 4 or 1.0
    magnitude = 10 ** math.floor(math.log10(step))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= step)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
