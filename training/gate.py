"""Compares the metrics of an evaluation with the thresholds that a model must meet to be published.

Not here: the thresholds of each preset (training/presets), and what happens to a model that fails (training.publish).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from models.base import Frozen
from training.metric_results import MetricName, MetricResult

# The shares of images that are copies.
COPIES = ("near_copies", "feature_copies")
# Enough for any two numbers of six digits.
MAX_MORE_DIGITS = 6


class Bound(Frozen):
    """The thresholds of one metric."""

    min: float | None = None
    max: float | None = None
    min_ratio_to_real: float | None = Field(
        default=None,
        gt=0,
        validation_alias=AliasChoices("min_ratio_to_real", "of_floor"),
        description="at least this share of what real images reach by the same protocol",
    )
    max_above_real: float | None = Field(
        default=None,
        validation_alias=AliasChoices("max_above_real", "above_floor"),
        description="at most this much above what real images reach by the same protocol",
    )
    max_ratio_to_real: float | None = Field(
        default=None,
        gt=0,
        description="at most this many times what real images reach by the same protocol",
    )

    @model_validator(mode="after")
    def _has_a_threshold(self) -> Bound:
        if self == Bound.model_construct():
            raise ValueError("give min, max, min_ratio_to_real, max_ratio_to_real or max_above_real")
        return self

    @property
    def needs_real_baseline(self) -> bool:
        """Whether a threshold is relative to the metric of real images."""
        return self.is_ratio_to_real or self.max_above_real is not None

    @property
    def is_ratio_to_real(self) -> bool:
        """Whether a threshold is a multiple of the metric of real images, which must be above 0 then."""
        return self.min_ratio_to_real is not None or self.max_ratio_to_real is not None


class Check(Frozen):
    """The result of one metric's thresholds; the metric is `figure` in JSON."""

    model_config = ConfigDict(serialize_by_alias=True)

    metric: str = Field(validation_alias=AliasChoices("metric", "figure"), serialization_alias="figure")
    passed: bool
    words: str
    # Only while a gate is checked: reports keep their keys.
    is_measured: bool = Field(default=True, exclude=True)
    is_copying: bool = Field(default=False, exclude=True, description="whether it failed by being too near to the data")


class GateResult(Frozen):
    """The result of all thresholds; without any, the gate does not pass."""

    checks: tuple[Check, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """The checks that failed, in words."""
        if not self.checks:
            return ("there are no thresholds to compare it with",)
        return tuple(check.words for check in self.checks if not check.passed)


class _Limit(NamedTuple):
    """One threshold as a number, and in words where it comes from."""

    is_minimum: bool
    value: float
    reason: str = ""

    def is_met_by(self, value: float) -> bool:
        return value >= self.value if self.is_minimum else value <= self.value


def check_gate(results: Sequence[MetricResult], bounds: Mapping[MetricName, Bound]) -> GateResult:
    """Compare metrics with their thresholds.

    A metric that could not be measured fails. One that does not apply to this generator, such as GAN-test without
    classes, is skipped.
    """
    by_name = {result.name: result for result in results}
    checks = []
    for name, bound in bounds.items():
        result = by_name.get(name) or MetricResult(name=name, problem="it is not part of this report")
        if result.applies:
            checks.append(_check(result, bound))
    return GateResult(checks=tuple(checks))


def _check(result: MetricResult, bound: Bound) -> Check:
    title, value = result.info.title, result.value
    if value is None:
        return Check(
            metric=result.name, passed=False, words=f"{title} was not measured: {result.problem}", is_measured=False
        )
    if problem := _baseline_problem(result, bound):
        words = f"{title} {result.format(value)}: {problem}"
        return Check(metric=result.name, passed=False, words=words, is_measured=False)
    limits = _limits(result, bound)
    unmet = [limit for limit in limits if not limit.is_met_by(value)]
    spec = _tell_apart(result.info.format_spec, value, [limit.value for limit in unmet])
    required = " and ".join(
        f"{'at least' if limit.is_minimum else 'at most'} {limit.value:{spec}}{limit.reason}" for limit in limits
    )
    words = f"{title} {value:{spec}}, {'but' if unmet else 'as'} required: {required}"
    is_copying = bool(unmet) and (result.name in COPIES or (result.name == "distance_ratio" and unmet[0].is_minimum))
    return Check(metric=result.name, passed=not unmet, words=words, is_copying=is_copying)


def _tell_apart(spec: str, value: float, others: Sequence[float]) -> str:
    """Return the format specification with as many more digits as make the value look different from the others."""
    for _ in range(MAX_MORE_DIGITS):
        if all(f"{value:{spec}}" != f"{other:{spec}}" for other in others):
            break
        spec = re.sub(r"\d+", lambda digits: str(int(digits[0]) + 1), spec)
    return spec


def _baseline_problem(result: MetricResult, bound: Bound) -> str:
    """Say why the value of real images cannot be compared with; empty if it can."""
    real = result.real_baseline
    if bound.needs_real_baseline and real is None:
        return "there is no value of real images to compare it with"
    # k times 0 would let nothing pass that is better lower, and everything that is better higher.
    if bound.is_ratio_to_real and real is not None and real <= 0:
        return f"real images reach {result.format(real)}, and a ratio to that means nothing; use min or max_above_real"
    return ""


def _limits(result: MetricResult, bound: Bound) -> list[_Limit]:
    real = result.format(result.real_baseline)
    limits = []
    if bound.min is not None:
        limits.append(_Limit(is_minimum=True, value=bound.min))
    if bound.min_ratio_to_real is not None and result.real_baseline is not None:
        reason = f" ({100 * bound.min_ratio_to_real:g}% of what real images reach, {real})"
        limits.append(_Limit(is_minimum=True, value=bound.min_ratio_to_real * result.real_baseline, reason=reason))
    if bound.max is not None:
        limits.append(_Limit(is_minimum=False, value=bound.max))
    if bound.max_ratio_to_real is not None and result.real_baseline is not None:
        reason = f" ({bound.max_ratio_to_real:g} times what real images reach, {real})"
        limits.append(_Limit(is_minimum=False, value=bound.max_ratio_to_real * result.real_baseline, reason=reason))
    if bound.max_above_real is not None and result.real_baseline is not None:
        reason = f" ({result.format(bound.max_above_real)} above what real images have, {real})"
        limits.append(_Limit(is_minimum=False, value=result.real_baseline + bound.max_above_real, reason=reason))
    return limits
