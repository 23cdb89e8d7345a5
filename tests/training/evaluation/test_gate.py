"""Thresholds against figures."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import InputError
from training.config import load_preset, preset_names, thresholds
from training.evaluation.toy_metrics import CENTRES, measure_modes
from training.gate import Bound, check_gate
from training.metric_results import METRICS, MetricName, MetricResult


def verdict_of(value: float | None, bound: Bound, floor: float | None = None, **more: object) -> tuple[bool, str]:
    figure = MetricResult.model_validate({"name": "coverage", "value": value, "floor": floor, **more})
    verdict = check_gate([figure], {"coverage": bound})
    return verdict.passed, verdict.checks[0].words if verdict.checks else ""


@pytest.mark.parametrize(
    ("value", "bound", "floor", "passed", "words"),
    [
        (0.9, Bound(min=0.9), None, True, "coverage 90.00%, as required: at least 90.00%"),
        (0.89, Bound(min=0.9), None, False, "coverage 89.00%, but required: at least 90.00%"),
        (0.9, Bound(max=0.9), None, True, "coverage 90.00%, as required: at most 90.00%"),
        (0.91, Bound(max=0.9), None, False, "coverage 91.00%, but required: at most 90.00%"),
        (0.76, Bound(min_ratio_to_real=0.95), 0.8, True,
         "coverage 76.00%, as required: at least 76.00% (95% of what real images reach, 80.00%)"),
        (0.75, Bound(min_ratio_to_real=0.95), 0.8, False,
         "coverage 75.00%, but required: at least 76.00% (95% of what real images reach, 80.00%)"),
        (0.9, Bound(min_ratio_to_real=0.95), None, False,
         "coverage 90.00%: there is no value of real images to compare it with"),
        (0.81, Bound(max_above_real=0.01), 0.8, True,
         "coverage 81.00%, as required: at most 81.00% (1.00% above what real images have, 80.00%)"),
        (0.82, Bound(max_above_real=0.01), 0.8, False,
         "coverage 82.00%, but required: at most 81.00% (1.00% above what real images have, 80.00%)"),
        (0.82, Bound(max_above_real=0.01), None, False,
         "coverage 82.00%: there is no value of real images to compare it with"),
        (0.5, Bound(min=0.4, max=0.6), None, True, "coverage 50.00%, as required: at least 40.00% and at most 60.00%"),
        (None, Bound(min=0.4), None, False, "coverage was not measured: "),
    ],
)  # fmt: skip
def test_a_bound_is_kept_or_not_and_says_so(
    value: float | None, bound: Bound, floor: float | None, passed: bool, words: str
) -> None:
    assert verdict_of(value, bound, floor) == (passed, words)


def test_what_has_no_meaning_is_passed_over_and_what_is_missing_fails() -> None:
    assert not check_gate([MetricResult(name="gan_train", applies=False)], {"gan_train": Bound(min=0.9)}).checks
    assert check_gate([], {"gan_train": Bound(min=0.9)}).failures == (
        "GAN-train was not measured: it is not part of this report",
    )


def test_without_thresholds_nothing_passes() -> None:
    verdict = check_gate([MetricResult(name="coverage", value=1.0)], {})

    assert not verdict.passed
    assert verdict.failures == ("there are no thresholds to compare it with",)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_gate_and_a_run_from_before_has_its_presets(preset: str) -> None:
    config = load_preset(preset)

    assert config.gate
    saved = config.model_dump(mode="json")
    assert thresholds(saved) == thresholds({**saved, "gate": {}, "no_longer_known": 1}) == config.gate


def test_a_saved_gate_of_its_own_goes_before_the_presets() -> None:
    config = load_preset("digits", ("gate={coverage: {min: 0.5}}",))

    assert thresholds(config.model_dump(mode="json")) == {"coverage": Bound(min=0.5)}
    assert thresholds({"preset": "nobody knows"}) == thresholds({}) == {}


def test_thresholds_are_read_by_their_old_names() -> None:
    old = Bound.model_validate({"min": None, "max": None, "of_floor": 0.97, "above_floor": 0.001})

    assert old == Bound(min_ratio_to_real=0.97, max_above_real=0.001)
    assert Bound.model_validate(old.model_dump()) == old


@pytest.mark.parametrize(
    ("assignment", "field"),
    [
        ("gate={nosuch: {min: 1}}", "gate.nosuch"),
        ("gate={coverage: {}}", "gate.coverage"),
        ("gate.coverage.min_ratio_to_real=0", "gate.coverage.min_ratio_to_real"),
        ("gate.coverage.of_floor=0", "gate.coverage.of_floor"),
        ("gate.coverage.least=1", "gate.coverage.least"),
    ],
)
def test_thresholds_that_cannot_be_held_are_refused_by_name(assignment: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        load_preset("digits", (assignment,))

    assert caught.value.field.startswith(field)


def test_every_figure_that_a_gate_may_name_has_its_words() -> None:
    assert set(METRICS) == set(MetricName.__args__)  # type: ignore[attr-defined]


def test_a_toy_that_lost_modes_is_refused() -> None:
    """Twenty-four of the twenty-five, made perfectly."""
    points = np.repeat(CENTRES[1:], 110, axis=0)
    config = load_preset("toy25")

    verdict = check_gate(measure_modes(points, points), thresholds(config.model_dump()))

    assert verdict.failures == ("modes 24, but required: at least 25",)
