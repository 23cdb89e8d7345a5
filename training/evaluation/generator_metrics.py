"""Measures generated images against the reference statistics of real images.

Not here: the metrics that compare two sets of images (training.evaluation.distribution_metrics), and the report
(training.evaluation.evaluate).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import MetricError
from training.evaluation import classifier, sample_grids, skin_tone
from training.evaluation.classifier import Images, Predictions
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import ImageSet, compute_feature_metrics
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.features import FeatureSpace
from training.evaluation.memorisation import distance_ratio
from training.evaluation.protocol import Protocol
from training.evaluation.reference import ReferenceStats, mean_and_sd, mean_by_class
from training.evaluation.report import ClassRow, ToneRow
from training.evaluation.sample_grids import Picture
from training.metric_results import CLASSIFIER, INCEPTION, Measurement, MetricName, MetricResult, try_measure
from training.progress import ProgressCallback

# In the order of a report.
METRIC_ORDER: tuple[MetricName, ...] = (
    "gan_train",
    "gan_test",
    "coverage",
    "recall",
    "precision",
    "density",
    "fd",
    "kid",
    "sharpness",
    "inception_score",
    "class_balance",
    "ndb",
    "distance_ratio",
    "near_copies",
    "feature_copies",
)
# Metrics that have a meaning only for a generator with classes.
CLASS_METRICS: tuple[MetricName, ...] = ("gan_train", "gan_test")


@dataclass(frozen=True, eq=False)
class GeneratedImages:
    """The generated images of an evaluation.

    Attributes:
        images: uint8 (n, H, W, C).
        labels: int64 (n,), the requested classes; None for an unconditional generator.
    """

    images: Images
    labels: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """The generated images and the real ones that they are compared with.

    Attributes:
        generator: the evaluated generator.
        reference: the statistics of the real images.
        generated: all generated images; GAN-train uses more of them than the distances do.
        fake: those that are compared, as many as real images.
        protocol: sample sizes and settings.
        progress: called after each part.
    """

    generator: EvaluatedGenerator
    reference: ReferenceStats
    generated: GeneratedImages
    fake: ImageSet
    protocol: Protocol
    progress: ProgressCallback


def measure_memorisation(context: EvaluationContext) -> tuple[dict[str, Measurement], list[Picture]]:
    """Measure how close the generated images are to training images, and draw the closest pairs."""
    reference = context.reference
    images = context.fake.images
    closeness = reference.training_images.search(images, context.fake.features)
    neighbours = closeness.neighbours
    values = {"near_copies": closeness.near_copies, "feature_copies": closeness.feature_copies}
    if neighbours is None:
        return {"distance_ratio": closeness.near_copies, **values}, []
    usual = reference.measurements.test_distances
    ratio = try_measure(lambda: distance_ratio(neighbours, usual))
    pictures = sample_grids.nearest_neighbour_grids(images, reference.train.images, neighbours)
    return {"distance_ratio": ratio, **values}, pictures


def measure_by_class(context: EvaluationContext) -> tuple[dict[str, Measurement], list[ClassRow]]:
    """Measure GAN-train and GAN-test, overall and by class, as means over several classifiers."""
    try:
        requested, test_labels, predictions = _require_same_classes(context)
    except MetricError as error:
        return {name: Measurement(problem=str(error)) for name in CLASS_METRICS}, []
    reference = context.reference
    split = reference.split
    class_names = context.generator.class_names
    num_classes = len(class_names)
    count = reference.real.gan_train_count
    students = classifier.train_several(
        context.generated.images[:count],
        requested[:count],
        num_classes,
        context.protocol.classifier,
        context.protocol.classifier_seeds,
        split.mirror,
        context.progress,
        step_name="classifiers on generated images",
    )
    requested = requested[: len(context.fake.images)]
    is_correct = classifier.find_correct(students, split.compared.images, test_labels)
    is_as_requested = classifier.find_correct(reference.judges, context.fake.images, requested)
    gan_train = mean_by_class(is_correct.mean(axis=0), test_labels, num_classes)
    gan_test = mean_by_class(is_as_requested.mean(axis=0), requested, num_classes)
    requested_shares = np.bincount(requested, minlength=num_classes) / len(requested)
    predicted_shares = np.bincount(predictions.labels, minlength=num_classes) / len(requested)
    rows = [
        ClassRow(
            name=name,
            gan_train=_finite_or_none(gan_train[k]),
            real_baseline=_finite_or_none(reference.measurements.class_accuracies[k]),
            gan_test=_finite_or_none(gan_test[k]),
            requested=_finite_or_none(requested_shares[k]),
            predicted=_finite_or_none(predicted_shares[k]),
        )
        for k, name in enumerate(class_names)
    ]
    return {
        "gan_train": mean_and_sd(is_correct.mean(axis=1)),
        "gan_test": mean_and_sd(is_as_requested.mean(axis=1)),
    }, rows


def _require_same_classes(context: EvaluationContext) -> tuple[NDArray[np.int64], NDArray[np.int64], Predictions]:
    """Return the requested labels, the test labels and the predictions.

    Raises:
        MetricError: the generator and the data have no classes in common.
    """
    generator = context.generator
    split = context.reference.split
    requested = context.generated.labels
    predictions = context.fake.predictions
    if not generator.class_names:
        raise MetricError("the generator has no classes")
    if not generator.has_classes:
        raise MetricError(f"the label {generator.manifest.continuous_label} is continuous and has no classes")
    if split.compared.labels is None:
        raise MetricError("the data has no labels")
    if predictions is None:
        raise MetricError("the data has one class only")
    if not has_same_classes(generator, split) or requested is None:
        data_names, generator_names = (
            ", ".join(names[:12]) for names in (split.train.class_names, generator.class_names)
        )
        raise MetricError(f"the data's classes ({data_names}) are not the generator's ({generator_names})")
    return requested, split.compared.labels, predictions


def draw_mistakes(context: EvaluationContext) -> list[Picture]:
    """Draw generated images that look like another class than the requested one."""
    try:
        requested, _, predictions = _require_same_classes(context)
    except MetricError:
        return []
    images = context.fake.images
    return sample_grids.misclassified_grid(
        images, requested[: len(images)], predictions.labels, context.generator.class_names
    )


def measure_skin_tones(context: EvaluationContext) -> tuple[list[MetricResult], tuple[ToneRow, ...]]:
    """Compare skin tones, if the data is of aligned faces in colour."""
    generator = context.generator
    reference = context.reference
    if not generator.data.aligned_faces or generator.shape[0] != 3:
        return [], ()
    generated = skin_tone.typology_angles(context.fake.images)
    real = skin_tone.typology_angles(reference.test.images)
    baseline = skin_tone.typology_angles(reference.real.stand_ins)
    value = Measurement(skin_tone.wasserstein_distance(generated, real))
    real_value = Measurement(skin_tone.wasserstein_distance(baseline, real))
    generated_shares = skin_tone.class_shares(generated)
    real_shares = skin_tone.class_shares(real)
    rows = (ToneRow(name=name, generated=generated_shares[name], real=real_shares[name]) for name in skin_tone.CLASSES)
    return [with_baseline("skin_tone", value, real_value)], tuple(rows)


def collect_classifier_metrics(
    values: Mapping[str, Measurement], baselines: Mapping[str, Measurement]
) -> list[MetricResult]:
    """Return the distances in the features of the classifier of real images, in the order of a report."""
    names = [CLASSIFIER + name for name in METRIC_ORDER]
    return [with_baseline(name, values[name], baselines.get(name)) for name in names if name in values]


def measure_in_inception(context: EvaluationContext, space: FeatureSpace | None) -> list[MetricResult]:
    """Measure the distances in Inception-v3's features too."""
    if space is None:
        return []
    reference = context.reference
    features = []
    for k, images in enumerate((reference.test.images, context.fake.images, reference.real.stand_ins)):
        context.progress("Inception-v3 features", k, 3)
        features.append(space.features(images))
    context.progress("Inception-v3 features", 3, 3)
    real, fake, baseline = features
    values = compute_feature_metrics(real, fake, context.protocol)
    baselines = compute_feature_metrics(real, baseline, context.protocol)
    return [with_baseline(INCEPTION + name, values[name], baselines[name]) for name in METRIC_ORDER if name in values]


def has_same_classes(generator: EvaluatedGenerator, split: DataSplit) -> bool:
    """Return True if the classes have the same names in the same order."""
    return tuple(generator.class_names) == tuple(split.train.class_names)


def with_baseline(name: str, value: Measurement, baseline: Measurement | None) -> MetricResult:
    """Combine a value with that of real images."""
    return MetricResult(
        name=name,
        value=value.value,
        sd=value.sd,
        problem=value.problem,
        real_baseline=baseline.value if baseline else None,
    )


def _finite_or_none(value: float) -> float | None:
    """Replace NaN, which JSON cannot hold."""
    return float(value) if np.isfinite(value) else None
