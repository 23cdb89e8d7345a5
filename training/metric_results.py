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
    "sharpness",
    "feature_copies",
    "modes",
    "on_a_mode",
    "exact_precision",
    "exact_recall",
    "mean_error",
    "sd_error",
]


class MetricInfo(NamedTuple):
    """The description of a metric.

    Attributes:
        title: its usual name.
        better: "higher", "lower" or "near 1".
        format_spec: the format specification of its values.
        meaning: what it measures, in a sentence.
    """

    title: str
    better: str
    format_spec: str
    meaning: str


METRICS: dict[MetricName, MetricInfo] = {
    "gan_train": MetricInfo(
        "GAN-train",
        "higher",
        ".2%",
        "accuracy on held-out real images of a classifier trained on generated images only",
    ),
    "gan_test": MetricInfo(
        "GAN-test",
        "higher",
        ".2%",
        "share of images that a classifier trained on real images assigns to the requested class",
    ),
    "fd": MetricInfo(
        "Fréchet distance", "lower", ".3f", "distance between Gaussians fitted to the features of both sets"
    ),
    "kid": MetricInfo("KID", "lower", ".5f", "squared maximum mean discrepancy with a cubic kernel"),
    "precision": MetricInfo("precision", "higher", ".2%", "share of generated images that lie among real ones"),
    "recall": MetricInfo("recall", "higher", ".2%", "share of real images that lie among generated ones"),
    "density": MetricInfo(
        "density", "higher", ".3f", "how densely real images surround generated ones; 1 for real images"
    ),
    "coverage": MetricInfo("coverage", "higher", ".2%", "share of real images that have a generated one nearby"),
    "inception_score": MetricInfo(
        "Inception Score", "higher", ".3f", "clear and varied classes; at most the number of classes"
    ),
    "class_balance": MetricInfo(
        "class balance",
        "lower",
        ".2%",
        "share of images that would have to change class to match the real shares",
    ),
    "skin_tone": MetricInfo(
        "skin tone distance", "lower", ".2f", "mean shift of the typology angle from that of real faces, in degrees"
    ),
    "ndb": MetricInfo(
        "NDB / K", "lower", ".2%", "share of cells of pixel space with too few or too many images; 5% by chance"
    ),
    "distance_ratio": MetricInfo(
        "distance ratio",
        "near 1",
        ".3f",
        "median distance to the nearest training image, over that of held-out real images",
    ),
    "near_copies": MetricInfo(
        "near-copies", "lower", ".2%", "share of images that differ only slightly from a training image"
    ),
    "sharpness": MetricInfo(
        "sharpness", "near 1", ".3f", "energy of fine detail, over that of real images; below 1: blurred, above: noisy"
    ),
    "feature_copies": MetricInfo(
        "near-copies in features", "lower", ".2%", "the same as near-copies, in features instead of pixels"
    ),
    "modes": MetricInfo("modes", "higher", ".0f", "modes of the mixture that the generator covers"),
    "on_a_mode": MetricInfo("on a mode", "higher", ".2%", "share of points within 4 sd of a mode"),
    "exact_precision": MetricInfo(
        "exact precision", "higher", ".2%", "share of generated images that are triangles, by their distance from any"
    ),
    "exact_recall": MetricInfo(
        "exact recall", "higher", ".2%", "share of triangles that the generator makes of some latent"
    ),
    "mean_error": MetricInfo("error of the mean", "lower", ".2%", "relative to the data's mean"),
    "sd_error": MetricInfo("error of the sd", "lower", ".2%", "relative to the data's standard deviation"),
}
# Prefix of a metric that is measured in the features of Inception-v3.
INCEPTION = "inceptionv3_"
# Prefix of a metric that is measured in the last hidden layer of the classifier of real images.
CLASSIFIER = "classifier_"
_SPACES = {INCEPTION: "Inception-v3", CLASSIFIER: "classifier"}


def describe_metric(name: str) -> MetricInfo:
    """Return the description of a metric; of one that this version does not know, its name only.

    Args: name, a key of METRICS, with the prefix INCEPTION or CLASSIFIER for a metric in those features.
    """
    by_name: dict[str, MetricInfo] = {str(known): info for known, info in METRICS.items()}
    for prefix, space in _SPACES.items():
        if (info := by_name.get(name.removeprefix(prefix))) and name.startswith(prefix):
            return info._replace(title=f"{info.title} ({space})")
    return by_name.get(name, MetricInfo(name, "", ".4g", ""))


class MetricResult(Frozen):
    """The result of one metric.

    Attributes:
        name: a key of METRICS, with the prefix INCEPTION or CLASSIFIER for a metric in those features.
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
        return describe_metric(self.name)

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
