"""The report of a dissection: a page with the units that do most and the best of each concept, by level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import images
from models.runtime.onnx_levels import OnnxLevels
from models.units import Level, Unit
from training.dissection.units import MIN_IOU, MIN_TIMES_CHANCE, Dissection, enlarge, find_high
from training.evaluation import page

TEMPLATE = "dissection.html.j2"
SHOWN_UNITS = 3
SHOWN_IMAGES = 10
# Where a unit without a concept counts as high.
_SHARE = 0.05
# How bright pixels stay where a unit is not high.
_DIMMED = 0.25


class _Row(NamedTuple):
    unit: Unit
    picture: bytes


class _LevelReport(NamedTuple):
    level: int
    height: int
    width: int
    units: tuple[Unit, ...]
    summary: str
    rows: list[_Row]


def render_units(title: str, dissection: Dissection, levels: OnnxLevels) -> str:
    """Render the page; it refers to no other file."""
    reports = [_describe_level(level, dissection, levels) for level in dissection.units.levels]
    return page.render(
        TEMPLATE,
        title=title,
        units=dissection.units,
        levels=reports,
        min_iou=f"{MIN_IOU:g}",
        min_times_chance=f"{MIN_TIMES_CHANCE:g}",
    )


def summarise_level(level: Level) -> str:
    """Return in a sentence what the units of a level do."""
    effects = [unit.effect for unit in level.units]
    dead = sum(effect == 0 for effect in effects)
    named = [unit.concept for unit in level.units if unit.concept]
    counts = ", ".join(f"{name} {named.count(name)}" for name in sorted(set(named)))
    return (
        f"The largest effect is {effects[0]:.2f}, the median {float(np.median(effects)):.2f}; {dead} units do nothing. "
        f"Units with a concept: {counts or 'none'}."
    )


def _describe_level(level: Level, dissection: Dissection, levels: OnnxLevels) -> _LevelReport:
    # The one of each concept that agrees best: the last of those with the same key.
    best = {u.concept: u for u in sorted(level.units, key=lambda unit: unit.iou or 0) if u.concept}
    shown = list(dict.fromkeys([*level.units[:SHOWN_UNITS], *best.values()]))
    rows = [_Row(unit, _draw_unit(level.level, unit, dissection, levels)) for unit in shown]
    width = level.width or level.side
    return _LevelReport(level.level, level.side, width, level.units, summarise_level(level), rows)


def _draw_unit(level: int, unit: Unit, dissection: Dissection, levels: OnnxLevels) -> bytes:
    """Draw images dimmed where a unit is not high, and below them the images without it."""
    maps = dissection.maps[level]
    count = min(SHOWN_IMAGES, len(maps))
    originals = dissection.images[:count]
    high = find_high(enlarge(maps[:, unit.unit], originals.shape[1:3]), unit.share or _SHARE)[:count]
    marked = np.where(high[..., None], originals, originals * _DIMMED + 255 * 0.1).astype(np.uint8)
    without = [_remove_unit(level, unit.unit, maps[k, None], levels) for k in range(count)]
    return images.encode(images.grid(np.concatenate([marked, without]), count), "image/png")


def _remove_unit(level: int, unit: int, maps: NDArray[np.float32], levels: OnnxLevels) -> NDArray[np.uint8]:
    edited = maps.copy()
    edited[:, unit] = 0
    return levels.finish(level, edited)
