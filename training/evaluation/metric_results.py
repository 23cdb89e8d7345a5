"""Every figure of a report: what it is called, which way is better, and its measured value.

Knows: names, words, rounding. Does not know: how a figure is measured or what is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from models.base import Frozen
from models.errors import MetricError
from training.config import MetricName


class MetricInfo(NamedTuple):
    """What is known of a figure before it is measured.

    Attributes:
        title: what people call it.
        better: "higher", "lower" or "" where neither is.
        form: a format specification for its value.
        says: what it means, in a sentence.
    """

    title: str
    better: str
    form: str
    says: str


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
# Before the name of a figure that is measured in Inception-v3's features.
INCEPTION = "inceptionv3_"


class MetricResult(Frozen):
    """One measured figure.

    Attributes:
        name: of METRICS, or such a name after INCEPTION.
        value: None where it could not be measured.
        floor: the same of real images: what a perfect generator would reach.
        sd: between parts of the sample, where it is a mean over such.
        problem: why there is no value.
        applies: false where the figure has no meaning for this generator, such as labels without classes.
    """

    name: str
    value: float | None = None
    floor: float | None = None
    sd: float | None = None
    problem: str = ""
    applies: bool = True

    @property
    def kind(self) -> MetricInfo:
        found: Mapping[str, MetricInfo] = {str(name): kind for name, kind in METRICS.items()}
        kind = found[self.name.removeprefix(INCEPTION)]
        return kind._replace(title=f"{kind.title} (Inception-v3)") if self.name.startswith(INCEPTION) else kind

    def shown(self, value: float | None) -> str:
        """A value as people read it."""
        return "" if value is None else format(value, self.kind.form)


class Measured(NamedTuple):
    """A value, or why there is none."""

    value: float | None = None
    sd: float | None = None
    problem: str = ""


def measured(measure: Callable[[], float | tuple[float, float]]) -> Measured:
    """One figure, alone: what goes wrong is kept in words. A pair is a mean and its sd."""
    try:
        found = measure()
    except MetricError as error:
        return Measured(problem=str(error))
    return Measured(*found) if isinstance(found, tuple) else Measured(float(found))
