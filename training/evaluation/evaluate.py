"""Evaluates a generator: runs the protocol and collects the report.

A metric that cannot be measured is reported with the reason, and the others are measured all the same. Not here: the
formulas (training.evaluation.metrics), and files (training.evaluation.html_report).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.latents import draw_label
from training.evaluation import sample_grids
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import compute_distribution_metrics
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.features import FeatureSpace
from training.evaluation.generator_metrics import (
    CLASS_METRICS,
    METRIC_ORDER,
    EvaluationContext,
    GeneratedImages,
    collect_classifier_metrics,
    draw_mistakes,
    has_same_classes,
    measure_by_class,
    measure_in_inception,
    measure_memorisation,
    measure_skin_tones,
    with_baseline,
)
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.real_images import RealImages
from training.evaluation.reference import ReferenceStats, compute_reference
from training.evaluation.report import DataSummary, Report
from training.evaluation.sample_grids import Picture
from training.gate import check_gate
from training.metric_results import Measurement, MetricName, MetricResult
from training.progress import ProgressCallback, ignore_progress

# Below this accuracy of the real-data classifier, GAN-test is not meaningful.
MIN_REAL_ACCURACY = 0.6


class EvaluationResult(NamedTuple):
    """The report of an evaluation, and its pictures."""

    report: Report
    pictures: list[Picture]


def evaluate(
    generator: EvaluatedGenerator,
    split: DataSplit,
    protocol: Protocol = STANDARD,
    cache_dir: Path | None = None,
    inception: FeatureSpace | None = None,
    progress: ProgressCallback = ignore_progress,
) -> EvaluationResult:
    """Measure a generator against real images.

    Args:
        generator: the generator. If its images have another shape than the data's, the report says that nothing could
            be compared.
        split: the real images.
        protocol: sample sizes and settings.
        cache_dir: where measurements of the real images are kept; None to keep none.
        inception: a second feature space, in which the distances are measured too.
        progress: called after each part.
    """
    with torch_threads(protocol.threads):
        pictures = sample_grids.uncurated_samples(generator, split.compared) + sample_grids.latent_walks(generator)
        if generator.shape != split.train.shape:
            return EvaluationResult(_report_other_shape(generator, split, protocol), pictures)
        reference = compute_reference(split, protocol, cache_dir, progress)
        generated = _generate(generator, reference, protocol, progress)
        fake = reference.image_set(generated.images[: reference.num_compared])
        context = EvaluationContext(generator, reference, generated, fake, protocol, progress)
        report, more_pictures = _measure(context, inception)
        return EvaluationResult(report, pictures + more_pictures)


def describe_training_data(generator: EvaluatedGenerator, split: DataSplit) -> list[str]:
    """Say if the compared images are not what was asked for, or the generator was trained on other data."""
    data = generator.manifest.training.data
    if data.digest not in (split.train.digest, split.whole.digest):
        return [f"The generator was trained on other data ({data.name}, sha256 {data.digest[:12]})."]
    if not split.note or (split.part == "training" and data.digest == split.train.digest):
        return []
    return [split.note]


def _generate(
    generator: EvaluatedGenerator, reference: ReferenceStats, protocol: Protocol, progress: ProgressCallback
) -> GeneratedImages:
    """Mint images with the labels of real training images in a fixed random order, so with the data's class shares."""
    count = max(reference.real.gan_train_count, reference.num_compared)
    return generate(generator, reference, count, protocol, progress)


def generate(
    generator: EvaluatedGenerator, reference: ReferenceStats, count: int, protocol: Protocol, progress: ProgressCallback
) -> GeneratedImages:
    """Mint `count` images with the labels of real training images in a fixed random order."""
    num_classes = generator.num_classes
    labels: NDArray[np.int64] | None = None
    if num_classes and reference.train.labels is not None and has_same_classes(generator, reference.split):
        # Labels only set the shares of classes, so repeating them is right; fewer images would change the distances.
        labels = reference.train.labels[np.resize(reference.real.judge_rows, count)]
    elif num_classes:
        z_dim = generator.manifest.latents.z_dim
        labels = np.array([draw_label(protocol.seed, index, z_dim, num_classes) for index in range(count)], np.int64)
    return GeneratedImages(generator.mint(protocol.seed, labels, count, progress), labels)


def _measure(context: EvaluationContext, inception: FeatureSpace | None) -> tuple[Report, list[Picture]]:
    """Measure every metric of the generated images beside its baseline."""
    generator = context.generator
    reference = context.reference
    protocol = context.protocol
    fake = context.fake
    context.progress("images compared", 0, 1)
    problem = reference.measurements.space_problem
    values = compute_distribution_metrics(reference.test, fake, reference.test_labels, protocol, problem)
    memorisation, pictures = measure_memorisation(context)
    context.progress("images compared", 1, 1)
    class_metrics, class_rows = measure_by_class(context)
    values = {**values, **memorisation, **class_metrics}
    tone_metrics, tone_rows = measure_skin_tones(context)
    baselines = reference.measurements.baselines
    results = [_result(name, values[name], baselines.get(name), generator) for name in METRIC_ORDER]
    results += tone_metrics
    results += collect_classifier_metrics(values, baselines)
    results += measure_in_inception(context, inception)
    report = Report(
        title=generator.title,
        kimg=generator.kimg,
        protocol=protocol,
        machine=f"{generator.sampler.fingerprint}; the rest on {protocol.threads} thread(s)",
        data=_summarise_data(reference.split, protocol),
        feature_space=reference.space.name if reference.space else "",
        feature_space_sha256=reference.space.sha256 if reference.space else "",
        reference_source="from the cache" if reference.is_cached else "measured now",
        metrics=tuple(results),
        classes=tuple(class_rows),
        tones=tone_rows,
        gate=check_gate(results, generator.gate),
        notes=(
            *describe_training_data(generator, reference.split),
            *_describe_chance(reference, protocol),
            *_describe_weak_classifier(reference),
        ),
    )
    return report, [*pictures, *draw_mistakes(context)]


def _result(
    name: MetricName, value: Measurement, baseline: Measurement | None, generator: EvaluatedGenerator
) -> MetricResult:
    applies = name not in CLASS_METRICS or generator.has_classes
    return with_baseline(name, value, baseline).model_copy(update={"applies": applies})


def _report_other_shape(generator: EvaluatedGenerator, split: DataSplit, protocol: Protocol) -> Report:
    """Report that the generator makes images of another shape than the data's."""
    generator_shape, data_shape = ("x".join(map(str, shape)) for shape in (generator.shape, split.train.shape))
    problem = f"the data's images are {data_shape} (channels, height, width), the generator's are {generator_shape}"
    results = tuple(MetricResult(name=name, problem=problem) for name in METRIC_ORDER)
    return Report(
        title=generator.title,
        kimg=generator.kimg,
        protocol=protocol,
        machine=generator.sampler.fingerprint,
        data=_summarise_data(split, protocol),
        metrics=results,
        gate=check_gate(results, generator.gate),
        notes=(f"Nothing could be compared: {problem}.",),
    )


def _summarise_data(split: DataSplit, protocol: Protocol) -> DataSummary:
    real = RealImages.select(split, protocol)
    return DataSummary(
        name=split.whole.name,
        digest=split.whole.digest,
        train_images=len(split.train),
        test_images=len(split.compared),
        test_split=split.origin,
        part=split.part,
        compared_images=real.num_compared,
        gan_train_images=real.gan_train_count,
    )


def _describe_chance(reference: ReferenceStats, protocol: Protocol) -> list[str]:
    """Say if so few images are compared that chance moves every metric."""
    if reference.num_compared >= protocol.warn_below_images:
        return []
    return [
        f"Only {reference.num_compared:,} images a side were compared, so chance moves every metric; "
        f"{protocol.warn_below_images:,} and more tell generators apart."
    ]


def _describe_weak_classifier(reference: ReferenceStats) -> list[str]:
    """Say if the real-data classifier is too inaccurate for the metrics that need it."""
    accuracy = reference.measurements.baselines.get("gan_test", Measurement()).value
    if accuracy is None or accuracy >= MIN_REAL_ACCURACY:
        return []
    return [
        f"A classifier trained on real images classifies only {accuracy:.0%} of held-out ones correctly, so what "
        "depends on it (GAN-train, GAN-test, class balance, Inception Score) says little about the generator."
    ]


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads, and restore it at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
