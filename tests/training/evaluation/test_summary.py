"""The words of a report follow its worst metrics."""

from __future__ import annotations

import pytest

from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.report import DataSummary, Report, describe_missing, format_table
from training.evaluation.summary import summarise
from training.metric_results import MetricResult

DATA = DataSummary(
    name="d",
    digest="0" * 64,
    train_images=900,
    test_images=100,
    test_split="the data's own",
    compared_images=100,
    gan_train_images=900,
)


def words(protocol: Protocol = STANDARD, /, **values: float | tuple[float, float | None] | MetricResult) -> str:
    """Summarise a report of metrics, each a value or (value, value of real images); 1 is that of real images else."""
    metrics = []
    for name, value in values.items():
        if isinstance(value, MetricResult):
            metrics.append(value)
        else:
            pair = value if isinstance(value, tuple) else (value, 1.0)
            metrics.append(MetricResult(name=name, value=pair[0], real_baseline=pair[1]))
    return " ".join(summarise(Report(title="t", protocol=protocol, machine="m", data=DATA, metrics=tuple(metrics))))


@pytest.mark.parametrize(
    ("coverage", "recall", "expected"),
    [
        (1.0, 0.96, "nearly all of the variety of real images: recall is 96% and coverage is 100%"),
        (0.96, 1.1, "nearly all of the variety of real images: coverage is 96% and recall is 110%"),
        (0.98, 0.94, "most of the variety"),
        # The bundled faces 0.1.0: coverage alone would say nearly all.
        (0.98, 0.62, "a part of the variety of real images: recall is 62% and coverage is 98%"),
        (0.74, 1.0, "a part of"),
        (0.98, 0.24, "little of"),
        (
            0.98,
            None,
            "is not known: coverage is 98% of real, which does not see a collapse, and recall was not measured",
        ),
    ],
)
def test_variety_is_the_smaller_of_coverage_and_recall(coverage: float, recall: float | None, expected: str) -> None:
    values = {"coverage": coverage} if recall is None else {"coverage": coverage, "recall": recall}

    text = words(**values)

    assert expected in text
    if "nearly all" not in expected:
        assert "nearly all" not in text


@pytest.mark.parametrize(
    ("fd", "precision", "sharpness", "expected"),
    [
        (
            1.9,
            0.96,
            1.05,
            "as good as real ones: Fréchet distance 1.9 times real, precision 96% of real, sharpness 105%",
        ),
        (2.1, 1.0, 1.0, "slightly worse"),
        (1.0, 0.94, 1.0, "slightly worse"),
        (1.0, 1.0, 0.85, "slightly worse than real ones"),
        (4.1, 1.0, 1.0, "clearly worse"),
        (1.0, 0.8, 1.0, "clearly worse"),
        (1.0, 1.0, 1.3, "clearly worse"),
        (12.1, 1.0, 1.0, "far from real"),
        (1.0, 0.4, 1.0, "far from real"),
        (1.0, 1.0, 0.7, "far from real"),
        (1.0, 1.0, 1.41, "far from real"),
        (1.0, 1.0, 0.0, "far from real"),
    ],
)
def test_quality_is_the_worst_of_distance_precision_and_sharpness(
    fd: float, precision: float, sharpness: float, expected: str
) -> None:
    assert f"Its images are {expected}" in words(fd=fd, precision=precision, sharpness=(sharpness, None))


def test_the_direction_of_a_wrong_sharpness_is_said() -> None:
    assert "They are blurred." in words(sharpness=(0.6, None))
    assert "They have noise or too hard edges." in words(sharpness=(1.6, None))
    text = words(fd=1.0, sharpness=(1.0, None))
    assert "blurred" not in text and "noise" not in text


def test_sharpness_alone_says_nothing_of_quality() -> None:
    text = words(sharpness=(1.02, None))

    assert text == "How good its images are is not known: only sharpness 102% of real was measured."


@pytest.mark.parametrize(
    ("precision", "density", "recall", "is_too_typical"),
    [
        (1.04, 1.0, 0.6, True),
        (1.0, 1.15, 0.6, True),
        (1.0, 1.0, 0.6, False),
        (1.04, 1.15, 0.9, False),
    ],
)
def test_high_precision_with_low_recall_is_too_typical(
    precision: float, density: float, recall: float, is_too_typical: bool
) -> None:
    text = words(precision=precision, density=density, recall=recall)

    assert ("They are too typical" in text) == is_too_typical


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(1.0, "new real images are."), (1.74, "too far: they are not like the data"), (0.5, "too near: parts may be")],
)
def test_a_distance_ratio_has_two_sides(ratio: float, expected: str) -> None:
    assert expected in words(near_copies=(0.0, 0.0), distance_ratio=ratio)


@pytest.mark.parametrize(
    ("near", "in_features", "expected"),
    [
        ((0.0, 0.0), (0.0, 0.0), "No near-copy of a training image was found (held-out real images: 0.00%)"),
        ((0.0, 0.0), (0.2, 0.01), "20.00% of its images are near-copies in features of training images (held-out real"),
        (
            (0.001, 0.02),
            (0.0, 0.001),
            "0.10% of its images are near-copies of training images (held-out real images: 2",
        ),
        ((0.2, 0.0), (0.2, 0.1), "20.00% of its images are near-copies of training images (held-out real"),
    ],
)
def test_copies_are_the_worse_of_pixels_and_features(
    near: tuple[float, float], in_features: tuple[float, float], expected: str
) -> None:
    assert expected in words(near_copies=near, feature_copies=in_features, distance_ratio=1.0)


def test_a_difference_within_the_deviation_over_seeds_is_no_loss() -> None:
    metric = MetricResult(name="gan_train", value=0.98, sd=0.005, real_baseline=0.984)

    assert "within the deviation over seeds" in words(gan_train=metric)
    assert "costs 0.40 points" in words(gan_train=metric.model_copy(update={"sd": 0.001}))


def test_a_ratio_to_zero_says_nothing() -> None:
    assert words(fd=(1.0, 0.0)) == ""


def test_another_protocol_is_named() -> None:
    assert words() == ""
    assert words(Protocol(name="ganmint-eval/0")) == (
        f"Measured by ganmint-eval/0: its numbers do not compare with those of {STANDARD.name}."
    )


def test_missing_metrics_are_named_by_reason_and_not_in_the_table() -> None:
    metrics = (
        MetricResult(name="recall", value=0.5),
        MetricResult(name="gan_train", problem="the generator has no classes", applies=False),
        MetricResult(name="gan_test", problem="the generator has no classes", applies=False),
        MetricResult(name="fd", problem="too few"),
        MetricResult(name="kid", problem="too few"),
    )

    assert describe_missing(metrics) == [
        "Left out, because there are no classes: GAN-train, GAN-test",
        "Not measured, because too few: Fréchet distance, KID",
    ]
    assert [line.split()[0] for line in format_table(metrics).splitlines()] == ["METRIC", "recall", "Left", "Not"]
