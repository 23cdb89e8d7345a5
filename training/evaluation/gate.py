"""The gate: figures against thresholds.

Knows: what passes. Does not know: where thresholds come from, what happens to a model that fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.base import Frozen
from training.config import Bound, MetricName
from training.evaluation.metric_results import MetricResult


class Check(Frozen):
    """One threshold and what became of it."""

    figure: str
    passed: bool
    words: str


class GateResult(Frozen):
    """What the gate says; without thresholds nothing passes."""

    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """What failed, in words."""
        if not self.checks:
            return ("there are no thresholds to hold it against",)
        return tuple(check.words for check in self.checks if not check.passed)


def judge(figures: Sequence[MetricResult], bounds: Mapping[MetricName, Bound]) -> GateResult:
    """Hold figures against their bounds.

    A figure that could not be measured fails; one that has no meaning for this generator (labels of
    a model without classes) is passed over.
    """
    by_name = {figure.name: figure for figure in figures}
    found = [
        (by_name.get(name, MetricResult(name=name, problem="it is not part of this report")), b)
        for name, b in bounds.items()
    ]
    return GateResult(checks=tuple(_check(figure, bound) for figure, bound in found if figure.applies))


def _check(figure: MetricResult, bound: Bound) -> Check:
    title, value, floor = figure.kind.title, figure.value, figure.floor
    if value is None:
        return Check(figure=figure.name, passed=False, words=f"{title} was not measured: {figure.problem}")
    if floor is None and not bound.of_floor is bound.above_floor is None:
        words = f"{title} {figure.shown(value)}: there is no figure of real images to compare it with"
        return Check(figure=figure.name, passed=False, words=words)
    limits = [(sign, limit, why) for sign, limit, why in _limits(figure, bound, floor or 0.0) if limit is not None]
    passed = all(value >= limit if sign == "at least" else value <= limit for sign, limit, _ in limits)
    wanted = " and ".join(f"{sign} {figure.shown(limit)}{why}" for sign, limit, why in limits)
    words = f"{title} {figure.shown(value)}, {'as' if passed else 'but'} wanted: {wanted}"
    return Check(figure=figure.name, passed=passed, words=words)


def _limits(figure: MetricResult, bound: Bound, floor: float) -> list[tuple[str, float | None, str]]:
    """Each limit with its direction, and where it comes from."""
    share, above, real = bound.of_floor, bound.above_floor, figure.shown(floor)
    return [
        ("at least", bound.min, ""),
        (
            "at least",
            None if share is None else share * floor,
            f" ({share or 0:.0%} of what real images reach, {real})",
        ),
        ("at most", bound.max, ""),
        (
            "at most",
            None if above is None else floor + above,
            f" ({figure.shown(above)} above what real images have, {real})",
        ),
    ]
