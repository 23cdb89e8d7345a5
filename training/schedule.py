"""Schedules: settings that change in the course of a run."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from models.base import Frozen


class CosineSchedule(Frozen):
    """A value that moves from `start` to `end` along half a cosine, then stays; one number is a constant.

    The schedule of R3GAN (arXiv 2501.05441, appendix D); it spans `Config.schedule_kimg`.
    """

    start: float
    end: float

    @model_validator(mode="before")
    @classmethod
    def _number_is_constant(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | CosineSchedule) else expand(value)

    def at(self, progress: float) -> float:
        """Return the value at `progress`, 0 .. 1 of the schedule; beyond 1 it is `end`."""
        weight = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return self.end + (self.start - self.end) * weight


def expand(value: Any) -> dict[str, float]:
    """Return the constant schedule of a number; YAML reads 1e-3 as a text.

    Raises: ValueError.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return {"start": float(value), "end": float(value)}
    except ValueError:
        raise ValueError("must be a number, or {start: NUMBER, end: NUMBER}") from None


def check_range(schedule: CosineSchedule, low: float, high: float) -> CosineSchedule:
    """Return a schedule that stays from `low` to `high`.

    Raises: ValueError.
    """
    if not low <= min(schedule.start, schedule.end) <= max(schedule.start, schedule.end) <= high:
        raise ValueError(f"start and end must be from {low:g} to {high:g}")
    return schedule


def _not_negative(value: CosineSchedule) -> CosineSchedule:
    if min(value.start, value.end) < 0:
        raise ValueError("start and end must not be negative")
    return value


Weight = Annotated[CosineSchedule, AfterValidator(_not_negative)]
# The bound is far above anything that trains and far below float32's largest number.
PositiveSchedule = Annotated[CosineSchedule, AfterValidator(functools.partial(check_range, low=0, high=1e9))]
ShareSchedule = Annotated[CosineSchedule, AfterValidator(functools.partial(check_range, low=0, high=1))]
