"""The gate: figures against thresholds.

Knows: what passes. Does not know: where thresholds come from, what happens to a model that fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from training.config import Bound, FigureName
from training.evaluation.figures import Figure


class Check(BaseModel):
    """One threshold and what became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    figure: str
    passed: bool
    words: str


class Verdict(BaseModel):
    """What the gate says; without thresholds nothing passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def judge(figures: Sequence[Figure], bounds: Mapping[FigureName, Bound]) -> Verdict:
    """Hold figures against their bounds.

    A figure that could not be measured fails; one that has no meaning for this generator (labels of
    a model without classes) is passed over.
    """
    by_name = {figure.name: figure for figure in figures}
    found = [
        (by_name.get(name, Figure(name=name, problem="it is not part of this report")), b) for name, b in bounds.items()
    ]
    return Verdict(checks=tuple(_check(figure, bound) for figure, bound in found if figure.applies))


def _check(figure: Figure, bound: Bound) -> Check:
    title, value = figure.kind.title, figure.value
    if value is None:
        return Check(figure=figure.name, passed=False, words=f"{title} was not measured: {figure.problem}")
    if bound.of_floor is not None and figure.floor is None:
        words = f"{title} {figure.shown(value)}: there is no figure of real images to compare it with"
        return Check(figure=figure.name, passed=False, words=words)
    lower = [limit for limit in (bound.min, _share(bound, figure)) if limit is not None]
    wanted = [f"at least {figure.shown(limit)}" for limit in lower]
    if bound.of_floor is not None:
        wanted[-1] += f" ({bound.of_floor:.0%} of what real images reach, {figure.shown(figure.floor)})"
    if bound.max is not None:
        wanted.append(f"at most {figure.shown(bound.max)}")
    passed = all(value >= limit for limit in lower) and (bound.max is None or value <= bound.max)
    words = f"{title} {figure.shown(value)}, {'as' if passed else 'but'} wanted: {' and '.join(wanted)}"
    return Check(figure=figure.name, passed=passed, words=words)


def _share(bound: Bound, figure: Figure) -> float | None:
    return None if bound.of_floor is None or figure.floor is None else bound.of_floor * figure.floor
