"""The gate compares metrics with thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import InputError
from training.config_files import list_presets, load_preset, read_gate
from training.data.toys import CENTRES
from training.evaluation.toy_metrics import measure_modes
from training.gate import Bound, check_gate
from training.metric_results import METRICS, MetricName, MetricResult

AT_LEAST_REAL = "at least 76.00% (95% of what real images reach, 80.00%)"
AT_MOST_REAL = "at most 81.00% (1.00% above what real images have, 80.00%)"
AT_MOST_RATIO = "at most 84.00% (1.05 times what real images reach, 80.00%)"
RATIO_TO_ZERO = "real images reach 0.00%, and a ratio to that means nothing; use min or max_above_real"
NO_REAL_VALUE = "there is no value of real images to compare it with"


def check(value: float | None, bound: Bound, real: float | None) -> tuple[bool, str]:
    """Check a coverage; return whether it passed, and the words."""
    metric = MetricResult(name="coverage", value=value, real_baseline=real)
    result = check_gate([metric], {"coverage": bound})
    return result.passed, result.checks[0].words if result.checks else ""


@pytest.mark.parametrize(
    ("value", "bound", "real", "passed", "words"),
    [
        (0.9, Bound(min=0.9), None, True, "90.00%, as required: at least 90.00%"),
        (0.89, Bound(min=0.9), None, False, "89.00%, but required: at least 90.00%"),
        (0.9, Bound(max=0.9), None, True, "90.00%, as required: at most 90.00%"),
        (0.91, Bound(max=0.9), None, False, "91.00%, but required: at most 90.00%"),
        (0.76, Bound(min_ratio_to_real=0.95), 0.8, True, f"76.00%, as required: {AT_LEAST_REAL}"),
        (0.75, Bound(min_ratio_to_real=0.95), 0.8, False, f"75.00%, but required: {AT_LEAST_REAL}"),
        (0.9, Bound(min_ratio_to_real=0.95), None, False, f"90.00%: {NO_REAL_VALUE}"),
        (0.81, Bound(max_above_real=0.01), 0.8, True, f"81.00%, as required: {AT_MOST_REAL}"),
        (0.82, Bound(max_above_real=0.01), 0.8, False, f"82.00%, but required: {AT_MOST_REAL}"),
        (0.82, Bound(max_above_real=0.01), None, False, f"82.00%: {NO_REAL_VALUE}"),
        (0.84, Bound(max_ratio_to_real=1.05), 0.8, True, f"84.00%, as required: {AT_MOST_RATIO}"),
        (0.85, Bound(max_ratio_to_real=1.05), 0.8, False, f"85.00%, but required: {AT_MOST_RATIO}"),
        (0.85, Bound(max_ratio_to_real=1.05), None, False, f"85.00%: {NO_REAL_VALUE}"),
        # Everything reaches 0 times 0.5, and nothing stays below 0 times 4.
        (0.1, Bound(min_ratio_to_real=0.5), 0.0, False, f"10.00%: {RATIO_TO_ZERO}"),
        (0.0, Bound(max_ratio_to_real=4), 0.0, False, f"0.00%: {RATIO_TO_ZERO}"),
        (-0.1, Bound(max_ratio_to_real=4), -0.2, False, f"-10.00%: {RATIO_TO_ZERO.replace('0.00%', '-20.00%')}"),
        # What is shown must explain the result.
        (2 / 1950, Bound(max=0.001), None, False, "0.103%, but required: at most 0.100%"),
        (
            0.9851,
            Bound(min_ratio_to_real=0.985),
            1,
            True,
            "98.51%, as required: at least 98.50% (98.5% of what real images reach, 100.00%)",
        ),
        (0.5, Bound(min=0.4, max=0.6), None, True, "50.00%, as required: at least 40.00% and at most 60.00%"),
        (None, Bound(min=0.4), None, False, "was not measured: "),
    ],
)
def test_a_bound_is_checked_and_explained(
    value: float | None, bound: Bound, real: float | None, passed: bool, words: str
) -> None:
    assert check(value, bound, real) == (passed, f"coverage {words}")


def test_inapplicable_metrics_are_skipped_and_missing_ones_fail() -> None:
    assert not check_gate([MetricResult(name="gan_train", applies=False)], {"gan_train": Bound(min=0.9)}).checks
    assert check_gate([], {"gan_train": Bound(min=0.9)}).failures == (
        "GAN-train was not measured: it is not part of this report",
    )


def test_without_thresholds_nothing_passes() -> None:
    result = check_gate([MetricResult(name="coverage", value=1.0)], {})

    assert not result.passed
    assert result.failures == ("there are no thresholds to compare it with",)


@pytest.mark.parametrize("preset", list_presets())
def test_every_preset_has_a_gate_that_older_runs_inherit(preset: str) -> None:
    config = load_preset(preset)

    assert config.gate
    saved = config.model_dump(mode="json")
    assert read_gate(saved) == read_gate({**saved, "gate": {}, "no_longer_known": 1}) == config.gate


def test_the_presets_for_images_ask_for_quality_variety_sharpness_and_copies() -> None:
    for preset in list_presets():
        config = load_preset(preset)
        gate = config.gate
        if not config.data.is_toy:
            assert {"recall", "fd", "sharpness", "distance_ratio", "near_copies", "feature_copies"} <= set(gate), preset
            assert gate["sharpness"] == Bound(min=0.7, max=1.4)


def test_noise_is_too_far_from_the_training_images() -> None:
    gate: dict[MetricName, Bound] = {"distance_ratio": load_preset("digits").gate["distance_ratio"]}

    assert check_gate([MetricResult(name="distance_ratio", value=1.0)], gate).passed
    assert check_gate([MetricResult(name="distance_ratio", value=1.74)], gate).failures


def test_a_saved_gate_overrides_the_presets() -> None:
    config = load_preset("digits", ("gate={coverage: {min: 0.5}}",))

    assert read_gate(config.model_dump(mode="json")) == {"coverage": Bound(min=0.5)}
    assert read_gate({"preset": "nobody knows"}) == read_gate({}) == {}


def test_thresholds_are_read_by_their_old_names() -> None:
    old = Bound.model_validate({"min": None, "max": None, "of_floor": 0.97, "above_floor": 0.001})

    assert old == Bound(min_ratio_to_real=0.97, max_above_real=0.001)
    assert Bound.model_validate(old.model_dump()) == old


@pytest.mark.parametrize(
    ("assignment", "field"),
    [
        ("gate={nosuch: {min: 1}}", "gate.nosuch"),
        ("gate={coverage: {}}", "gate.coverage"),
        ("gate.recall.min_ratio_to_real=0", "gate.recall.min_ratio_to_real"),
        ("gate.recall.max_ratio_to_real=0", "gate.recall.max_ratio_to_real"),
        ("gate.recall.least=1", "gate.recall.least"),
    ],
)
def test_invalid_thresholds_are_refused_by_name(assignment: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        load_preset("digits", (assignment,))

    assert caught.value.field.startswith(field)


def test_every_metric_name_is_described() -> None:
    assert set(METRICS) == set(MetricName.__args__)  # type: ignore[attr-defined]


def test_a_toy_that_lost_a_mode_fails() -> None:
    """Draw twenty-four of the twenty-five modes perfectly."""
    points = np.repeat(CENTRES[1:], 110, axis=0)
    config = load_preset("toy25")

    result = check_gate(measure_modes(points, points), read_gate(config.model_dump()))

    assert result.failures == ("modes 24, but required: at least 25",)
