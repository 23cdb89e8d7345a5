"""Names, descriptions and measured values of the evaluation's metrics.

Not here: how a metric is measured (training.evaluation.metrics), and what it must reach (training.gate).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import AliasChoices, ConfigDict, Field

from models.base import Frozen
from models.errors import MetricError

MetricName = Literal[
    "gan_train",
    "gan_test",
    "fd",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "inception_score",
    "class_balance",
    "skin_tone",
    "ndb",
    "distance_ratio",
    "near_copies",
    "modes",
    "on_a_mode",
    "mean_error",
    "sd_error",
]


class MetricInfo(NamedTuple):
    """The description of a metric.

    Attributes:
        title: its usual name.
        better: "higher" or "lower".
        format_spec: the format specification of its values.
        meaning: what it measures, in a sentence.
    """

    title: str
    better: str
    format_spec: str
    meaning: str


METRICS: dict[MetricName, MetricInfo] = {
    "gan_train": MetricInfo(
        "GAN-train", "higher", ".2%", "accuracy on real test images of a classifier that saw generated images only"
    ),
    "gan_test": MetricInfo(
        "GAN-test", "higher", ".2%", "how often a classifier of real images sees the class that was asked for"
    ),
    "fd": MetricInfo("Fréchet distance", "lower", ".3f", "between Gaussians fitted to the features of both sets"),
    "kid": MetricInfo("KID", "lower", ".5f", "squared maximum mean discrepancy with a cubic kernel"),
    "precision": MetricInfo("precision", "higher", ".2%", "generated images that lie among real ones"),
    "recall": MetricInfo("recall", "higher", ".2%", "real images that lie among generated ones"),
    "density": MetricInfo(
        "density", "higher", ".3f", "how crowded the real images are around generated ones; 1 is like real"
    ),
    "coverage": MetricInfo("coverage", "higher", ".2%", "real images that have a generated one nearby"),
    "inception_score": MetricInfo("Inception Score", "higher", ".3f", "sharp and varied classes, at most their number"),
    "class_balance": MetricInfo(
        "class imbalance", "lower", ".2%", "share of images to be moved to another class to match the real shares"
    ),
    "skin_tone": MetricInfo(
        "skin tone distance", "lower", ".2f", "mean move in degrees of typology angle from the real faces' tones"
    ),
    "ndb": MetricInfo(
        "NDB / K", "lower", ".2%", "cells of the pixel space with too few or too many; chance alone gives 5%"
    ),
    "distance_ratio": MetricInfo(
        "distance ratio",
        "higher",
        ".3f",
        "median distance to the nearest training image, over that of real test images",
    ),
    "near_copies": MetricInfo("near-copies", "lower", ".2%", "images that are a training image but for small changes"),
    "modes": MetricInfo("modes", "higher", ".0f", "modes of the mixture that are still made"),
    "on_a_mode": MetricInfo("on a mode", "higher", ".2%", "points within 4 sd of a mode"),
    "mean_error": MetricInfo("error of the mean", "lower", ".2%", "relative to the data's mean"),
    "sd_error": MetricInfo("error of the sd", "lower", ".2%", "relative to the data's standard deviation"),
}
# Prefix of a metric that is measured in the features of Inception-v3.
INCEPTION = "inceptionv3_"


class MetricResult(Frozen):
    """The result of one metric.

    Attributes:
        name: a key of METRICS, with the prefix INCEPTION for Inception-v3's features.
        value: None if it could not be measured.
        real_baseline: the same metric of real images, which a perfect generator would reach; `floor` in JSON.
        sd: standard deviation over parts of the sample, if the value is a mean over parts.
        problem: why there is no value.
        applies: False if the metric has no meaning for this generator, such as GAN-test without classes.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    name: str
    value: float | None = None
    real_baseline: float | None = Field(
        default=None, validation_alias=AliasChoices("real_baseline", "floor"), serialization_alias="floor"
    )
    sd: float | None = None
    problem: str = ""
    applies: bool = True

    @property
    def info(self) -> MetricInfo:
        """The description of this metric."""
        by_name: dict[str, MetricInfo] = {str(name): info for name, info in METRICS.items()}
        info = by_name[self.name.removeprefix(INCEPTION)]
        return info._replace(title=f"{info.title} (Inception-v3)") if self.name.startswith(INCEPTION) else info

    def format(self, value: float | None) -> str:
        """Format a value of this metric; empty for None."""
        return "" if value is None else format(value, self.info.format_spec)


class Measurement(NamedTuple):
    """A value with its standard deviation, or the reason why there is none."""

    value: float | None = None
    sd: float | None = None
    problem: str = ""


def try_measure(measure: Callable[[], float | tuple[float, float]]) -> Measurement:
    """Call `measure`; turn a MetricError into a Measurement that says the problem.

    Args:
        measure: returns a value, or a mean and its standard deviation.
    """
    try:
        result = measure()
    except MetricError as error:
        return Measurement(problem=str(error))
    return Measurement(*result) if isinstance(result, tuple) else Measurement(float(result))
