"""Says in sentences what a report's metrics mean. The words follow the worst metric of each kind, never the best.

Not here: thresholds for publishing (training.gate).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from training.evaluation.protocol import STANDARD
from training.evaluation.report import Report
from training.gate import COPIES
from training.metric_results import MetricResult

# Shares of the variety of real images (the smaller of coverage and recall, over that of real images), and their words.
VARIETY_WORDS = ((0.95, "nearly all"), (0.75, "most"), (0.25, "a part"), (0.0, "little"))
# From the best words to the worst: each metric must meet its limit, or the next words are tried.
QUALITY_WORDS = ("as good as real ones", "slightly worse than real ones", "clearly worse than real ones")
WORST_QUALITY = "far from real ones"
MAX_FD_RATIO = (2.0, 4.0, 12.0)
MIN_PRECISION_RATIO = (0.95, 0.85, 0.5)
# Sharpness may differ from that of real images by this factor, upwards or downwards.
MAX_SHARPNESS_FACTOR = (1.1, 1.25, 1.4)
# Images are too typical if one of these is above this multiple of real images' ...
TYPICAL_PRECISION_RATIO = 1.03
TYPICAL_DENSITY_RATIO = 1.1
# ... while recall is below this share of theirs.
TYPICAL_RECALL_RATIO = 0.85
# Noise is farther from every training image than real images are.
MIN_DISTANCE_RATIO = 0.75
MAX_DISTANCE_RATIO = 1.4


def summarise(report: Report) -> list[str]:
    """Say what the metrics mean, in sentences for readers who do not know them."""
    sentences = (
        _describe_protocol(report),
        _describe_quality(report),
        _describe_variety(report),
        _describe_typicality(report),
        _describe_usefulness(report),
        _describe_class_accuracy(report),
        _describe_memorisation(report),
    )
    return [sentence for sentence in sentences if sentence]


def _describe_protocol(report: Report) -> str:
    name = report.protocol.name
    if name == STANDARD.name:
        return ""
    return f"Measured by {name}: its numbers do not compare with those of {STANDARD.name}."


def _describe_quality(report: Report) -> str:
    levels, parts = [], []
    if (ratio := _ratio_to_real(report, "fd")) is not None:
        levels.append(_level(ratio, MAX_FD_RATIO))
        parts.append(f"Fréchet distance {ratio:.1f} times real")
    if (ratio := _ratio_to_real(report, "precision")) is not None:
        levels.append(_level(-ratio, [-limit for limit in MIN_PRECISION_RATIO]))
        parts.append(f"precision {ratio:.0%} of real")
    is_known = bool(levels)
    flaw = ""
    if (ratio := _ratio_to_real(report, "sharpness")) is not None:
        factor = max(ratio, 1 / ratio) if ratio > 0 else math.inf
        levels.append(_level(factor, MAX_SHARPNESS_FACTOR))
        parts.append(f"sharpness {ratio:.0%} of real")
        if levels[-1]:
            flaw = " They are blurred." if ratio < 1 else " They have noise or too hard edges."
    if not levels:
        return ""
    if not is_known:
        return f"How good its images are is not known: only {parts[0]} was measured.{flaw}"
    words = (*QUALITY_WORDS, WORST_QUALITY)[max(levels)]
    return f"Its images are {words}: {', '.join(parts)}.{flaw}"


def _level(value: float, limits: Sequence[float]) -> int:
    """Return the number of limits, from the strictest on, that the value is above."""
    return sum(value > limit for limit in limits)


def _describe_variety(report: Report) -> str:
    coverage = _ratio_to_real(report, "coverage")
    recall = _ratio_to_real(report, "recall")
    bins = report.find("ndb")
    if coverage is None and recall is None:
        return ""
    if recall is None:
        text = f"How much of the variety of real images it has is not known: coverage is {coverage:.0%} of real, which "
        text += "does not see a collapse, and recall was not measured."
    else:
        parts = [(recall, "recall"), *([(coverage, "coverage")] if coverage is not None else [])]
        extent = next(words for least, words in VARIETY_WORDS if min(parts)[0] >= least)
        details = " and ".join(f"{name} is {ratio:.0%}" for ratio, name in sorted(parts))
        text = f"It has {extent} of the variety of real images: {details} of what real images reach."
    if bins is not None and bins.value is not None:
        text += f" In {bins.format(bins.value)} of the cells of pixel space it makes clearly too many or too few images"
        text += f" (real images: {bins.format(bins.real_baseline)})." if bins.real_baseline is not None else "."
    return text


def _describe_typicality(report: Report) -> str:
    precision = _ratio_to_real(report, "precision")
    density = _ratio_to_real(report, "density")
    recall = _ratio_to_real(report, "recall")
    is_high = (precision or 0) > TYPICAL_PRECISION_RATIO or (density or 0) > TYPICAL_DENSITY_RATIO
    if not is_high or recall is None or recall >= TYPICAL_RECALL_RATIO:
        return ""
    names = [f"{name} is {ratio:.0%}" for name, ratio in (("precision", precision), ("density", density)) if ratio]
    return f"They are too typical: {' and '.join(names)} of real, but recall only {recall:.0%}. Rare kinds are missing."


def _describe_usefulness(report: Report) -> str:
    metric = report.find("gan_train")
    if metric is None or metric.value is None or metric.real_baseline is None or report.data is None:
        return ""
    loss = metric.real_baseline - metric.value
    count = f"{report.data.gan_train_images:,}"
    if loss <= 0:
        result = "Nothing is lost."
    elif loss <= (metric.sd or 0):
        result = "The difference is within the deviation over seeds."
    else:
        result = f"Training on this generator costs {100 * loss:.2f} points."
    return (
        f"A classifier trained only on {count} generated images classifies {metric.format(metric.value)} of held-out "
        f"real images correctly; one trained on {count} real images classifies {metric.format(metric.real_baseline)}. "
        + result
    )


def _describe_class_accuracy(report: Report) -> str:
    metric = report.find("gan_test")
    if metric is None or metric.value is None:
        return ""
    real = f" (real images: {metric.format(metric.real_baseline)})" if metric.real_baseline is not None else ""
    return f"{metric.format(metric.value)} of its images look like the requested class{real}."


def _describe_memorisation(report: Report) -> str:
    measured = [metric for name in COPIES if (metric := _measured(report, name))]
    ratio = _measured(report, "distance_ratio")
    if not measured or ratio is None or ratio.value is None:
        return ""
    # The share that is furthest above that of real images, or else the greatest.
    copies = max(measured, key=lambda metric: (max(_excess(metric), 0), metric.value or 0))
    if not copies.value:
        text = "No near-copy of a training image was found"
    else:
        text = f"{copies.format(copies.value)} of its images are {copies.info.title} of training images"
    if copies.real_baseline is not None:
        text += f" (held-out real images: {copies.format(copies.real_baseline)})"
    text += f"; its images are {ratio.value:.2f} times as far from the training images as new real images are"
    if ratio.value > MAX_DISTANCE_RATIO:
        return f"{text}, too far: they are not like the data."
    if ratio.value < MIN_DISTANCE_RATIO:
        return f"{text}, too near: parts may be memorised."
    return f"{text}."


def _excess(metric: MetricResult) -> float:
    return (metric.value or 0) - (metric.real_baseline or 0)


def _measured(report: Report, name: str) -> MetricResult | None:
    metric = report.find(name)
    return metric if metric is not None and metric.value is not None else None


def _ratio_to_real(report: Report, name: str) -> float | None:
    """Return the metric over that of real images; None where one is missing, or that of real images is not above 0.

    Sharpness is a ratio already, and needs no value of real images.
    """
    metric = _measured(report, name)
    if metric is None or metric.value is None:
        return None
    real = 1.0 if name == "sharpness" and metric.real_baseline is None else metric.real_baseline
    return metric.value / real if real is not None and real > 0 else None
