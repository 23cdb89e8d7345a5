"""Schedules: settings that change in the course of a run."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from models.base import Frozen


class CosineSchedule(Frozen):
    """A value that moves from `start` to `end` along half a cosine, then stays.

    The schedule of R3GAN (arXiv 2501.05441, appendix D); it spans `Config.schedule_kimg`.
    """

    start: float
    end: float

    def at(self, progress: float) -> float:
        """Return the value at `progress`, 0 .. 1 of the schedule; beyond 1 it is `end`."""
        weight = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return self.end + (self.start - self.end) * weight


def _constant(value: Any) -> Any:
    return {"start": value, "end": value} if isinstance(value, int | float) else value


def _not_negative(value: CosineSchedule) -> CosineSchedule:
    if min(value.start, value.end) < 0:
        raise ValueError("start and end must not be negative")
    return value


# One number is a constant weight.
Weight = Annotated[CosineSchedule, BeforeValidator(_constant), AfterValidator(_not_negative)]
