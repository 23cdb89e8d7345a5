"""Holds the report as data, and turns it into a table and sentences.

Not here: the page (training.evaluation.html_report).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict

from models.base import Frozen
from models.evidence import Score
from training.evaluation.protocol import Protocol
from training.gate import GateResult
from training.metric_results import MetricResult

# Keys of report.json that differ from the fields' names.
_JSON_KEYS = {
    "title": "subject",
    "metrics": "figures",
    "gate": "verdict",
    "reference_source": "real_side",
    "real_baseline": "ceiling",
    "requested": "wanted",
    "predicted": "seen",
    "part": "split",
}


class _ReportPart(Frozen):
    model_config = ConfigDict(
        alias_generator=lambda field: _JSON_KEYS.get(field, field),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class DataSummary(_ReportPart):
    """The real images of an evaluation; the digest is that of training.data.dataset.Dataset.

    Attributes:
        test_images: how many images there are in the part that generated images are compared with.
        test_split: where these come from, in words.
        part: which part they are (training.evaluation.data_split.Part); empty in reports of older versions.
    """

    name: str
    digest: str
    train_images: int
    test_images: int
    test_split: str
    part: str = ""
    compared_images: int
    gan_train_images: int

    @property
    def compared(self) -> str:
        """What the compared images are called, in the plural."""
        names = {"": "test images", "training": "held-out images, which the generator was trained on, too,"}
        return names.get(self.part, f"{self.part} images")


class ClassRow(_ReportPart):
    """The results of one class, as shares from 0 to 1; None where there is nothing to measure.

    Attributes:
        name: of the class.
        gan_train: accuracy on real test images of a classifier trained on generated images.
        real_baseline: the same of a classifier trained on real images.
        gan_test: share of the images requested of this class that the real-data classifier assigns to it.
        requested: share of the generated images that were requested of this class.
        predicted: share of the generated images that the real-data classifier assigns to this class.
    """

    name: str
    gan_train: float | None
    real_baseline: float | None
    gan_test: float | None
    requested: float | None
    predicted: float | None


class ToneRow(_ReportPart):
    """A class of skin tone, and the share of generated and of real faces in it, from 0 to 1."""

    name: str
    generated: float
    real: float


class Report(_ReportPart):
    """report.json; equal for the same generator, data, protocol and machine, but for `reference_source`.

    Attributes:
        title: the evaluated generator.
        kimg: how long a run has been trained, in thousand images.
        protocol: what was measured, and how.
        machine: what the last digits depend on.
        data: the real images; None for toy data.
        feature_space: where distances are measured.
        feature_space_sha256: of its weights.
        reference_source: whether the baselines were measured now or read from the cache.
        metrics: every metric, in order.
        classes: results by class.
        tones: skin tones, for data of aligned faces.
        gate: the result of the thresholds.
        notes: what a reader needs to know, in sentences.
    """

    title: str
    kimg: float | None = None
    protocol: Protocol
    machine: str
    data: DataSummary | None = None
    feature_space: str = ""
    feature_space_sha256: str = ""
    reference_source: str = ""
    metrics: tuple[MetricResult, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    tones: tuple[ToneRow, ...] = ()
    gate: GateResult = GateResult()
    notes: tuple[str, ...] = ()

    def find(self, name: str) -> MetricResult | None:
        """Return the metric of this name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def scores(self) -> tuple[Score, ...]:
        """Return the metrics that were measured, as a manifest holds them."""
        return tuple(
            Score(name=metric.name, value=metric.value, real_baseline=metric.real_baseline, protocol=self.protocol.name)
            for metric in self.metrics
            if metric.value is not None
        )


def format_table(metrics: Sequence[MetricResult]) -> str:
    """Format the metrics for a terminal, beside those of real images; then what is missing, and why."""
    rows = [("METRIC", "GENERATED", "REAL", "BETTER", "MEANING")]
    for metric in metrics:
        if metric.value is not None:
            spread = f" ± {metric.format(metric.sd)}" if metric.sd is not None else ""
            value = metric.format(metric.value) + spread
            baseline = metric.format(metric.real_baseline)
            rows.append((metric.info.title, value, baseline, metric.info.better, metric.info.meaning))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows]
    return "\n".join([*lines, *describe_missing(metrics)])


def describe_missing(metrics: Sequence[MetricResult]) -> list[str]:
    """Name the metrics without a value: one line for those that do not apply, and one for each other reason."""
    missing = [metric for metric in metrics if metric.value is None]
    lines = []
    if inapplicable := [metric.info.title for metric in missing if not metric.applies]:
        lines.append(f"Left out, because there are no classes: {', '.join(inapplicable)}")
    for problem in dict.fromkeys(metric.problem for metric in missing if metric.applies):
        titles = [metric.info.title for metric in missing if metric.applies and metric.problem == problem]
        lines.append(f"Not measured, because {problem}: {', '.join(titles)}")
    return lines
