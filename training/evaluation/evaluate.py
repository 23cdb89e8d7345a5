"""Runs the protocol.

Knows: the order of things, and that each figure stands alone: one that cannot be measured is reported
in words beside the others. Does not know: metrics' formulas, files, what is printed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import MetricError
from models.latents import draw_label
from training.evaluation import classifier, metrics, sample_grids, skin_tone
from training.evaluation.classifier import Images
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import ImageSet, compare, distances, image_set
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.features import FeatureSpace, pixels
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.reference import Progress, ReferenceStats, compute_reference, gan_train_images, per_class
from training.evaluation.report import ClassRow, DataFacts, Report, ToneRow
from training.evaluation.sample_grids import Picture
from training.gate import check_gate
from training.metric_results import INCEPTION, Measurement, MetricName, MetricResult, try_measure

# In the order of a report.
ORDER: tuple[MetricName, ...] = (
    "gan_train", "gan_test", "coverage", "recall", "precision", "density", "fd", "kid", "inception_score",
    "class_balance", "ndb", "distance_ratio", "near_copies",
)  # fmt: skip
# Below this the real-data classifier is no judge.
TELLING_ACCURACY = 0.6
BY_CLASS: tuple[MetricName, ...] = ("gan_train", "gan_test")


def silent(*_: object) -> None:
    """Says nothing of the progress."""


class EvaluationResult(NamedTuple):
    """What an evaluation leaves: figures, and pictures."""

    report: Report
    pictures: list[Picture]


@dataclasses.dataclass(frozen=True, eq=False)
class Generated:
    """Generated images of the protocol: uint8 (n, H, W, C), and the labels asked for, int64 (n,) or None."""

    images: Images
    labels: NDArray[np.int64] | None


def evaluate(
    subject: EvaluatedGenerator,
    splits: DataSplit,
    protocol: Protocol = STANDARD,
    cache: Path | None = None,
    inception: FeatureSpace | None = None,
    progress: Progress = silent,
) -> EvaluationResult:
    """Measure a generator against real images.

    Args:
        subject: the generator; of another shape than the data, nothing can be compared, and the report
            says so.
        cache: a folder that keeps what depends on the real images only; None: nothing is kept.
        inception: measures the distances once more in this space.
        progress: called with what is done, how far, of how much.
    """
    with _threads(protocol.threads):
        pictures = sample_grids.grids(subject, splits.test) + sample_grids.paths(subject)
        if subject.shape != splits.train.shape:
            return _nothing_to_compare(subject, splits, protocol, pictures)
        real = compute_reference(splits, protocol, cache, progress)
        made = _generate(subject, real, protocol, progress)
        return _judged(subject, real, made, protocol, inception, progress, pictures)


def _judged(
    subject: EvaluatedGenerator,
    real: ReferenceStats,
    made: Generated,
    protocol: Protocol,
    inception: FeatureSpace | None,
    progress: Progress,
    pictures: list[Picture],
) -> EvaluationResult:
    """Every figure of the generated images beside its floor."""
    shown = made.images[: real.compared]
    answers = real.classifier.answers(shown) if real.classifier else None
    fake = image_set(shown, real.space, answers)
    progress("images compared", 0, 1)
    values = compare(real.test, fake, real.test_labels, protocol)
    values |= _memorised(real, shown, protocol, pictures)
    progress("images compared", 1, 1)
    gan_train, rows = _by_class(subject, real, made, fake, protocol, progress)
    values |= gan_train
    if made.labels is not None and answers is not None and _same_classes(subject, real.splits):
        pictures += sample_grids.mistakes(shown, made.labels[: len(shown)], answers.labels, subject.card.class_names)
    figures = [_figure(name, values[name], real.floors.get(name), subject) for name in ORDER]
    tone, tone_rows = _tones(subject, real, shown)
    figures += tone
    figures += _in_inception(real, shown, inception, protocol, progress)
    report = Report(
        subject=subject.title,
        kimg=subject.kimg,
        protocol=protocol,
        machine=subject.sampler.fingerprint + f"; the rest on {protocol.threads} thread(s)",
        data=_facts(real.splits, protocol),
        feature_space=real.space.name,
        feature_space_sha256=real.space.sha256,
        reference_source="from the cache" if real.cached else "measured now",
        figures=tuple(figures),
        classes=tuple(rows),
        tones=tone_rows,
        verdict=check_gate(figures, subject.gate),
        notes=(*notes(subject, real.splits), *_blind(real)),
    )
    return EvaluationResult(report, pictures)


def _generate(subject: EvaluatedGenerator, real: ReferenceStats, protocol: Protocol, progress: Progress) -> Generated:
    """Images with the labels of real training images, in a fixed random order: the data's class shares."""
    count = max(gan_train_images(real.splits, protocol), real.compared)
    seed, classes, labels = protocol.seed, len(subject.card.class_names), None
    if classes and real.train.labels is not None and _same_classes(subject, real.splits):
        labels = real.train.labels[real.order[:count]]
    elif classes:
        z_dim = subject.card.latents.z_dim
        labels = np.array([draw_label(seed, index, z_dim, classes) for index in range(count)], np.int64)
    images = subject.mint(seed, labels, count, lambda done, of: progress("images minted", done, of))
    return Generated(images, labels)


def _memorised(
    real: ReferenceStats, shown: Images, protocol: Protocol, pictures: list[Picture]
) -> dict[MetricName, Measurement]:
    train = pixels(real.train.images)
    try:
        found = metrics.nearest(pixels(shown), train, min(protocol.neighbours, len(train) - 1))
    except MetricError as error:
        return {"distance_ratio": Measurement(problem=str(error)), "near_copies": Measurement(problem=str(error))}
    pictures += sample_grids.twins(shown, real.train.images, found)
    usual = float(np.median(real.test_distance))
    if not usual:
        ratio = Measurement(problem="half of the test images are copies of training images")
    else:
        ratio = Measurement(float(np.median(found.distance)) / usual)
    return {"distance_ratio": ratio, "near_copies": Measurement(float(found.copies(protocol.copy_share).mean()))}


def _tones(
    subject: EvaluatedGenerator, real: ReferenceStats, shown: Images
) -> tuple[list[MetricResult], tuple[ToneRow, ...]]:
    """How the skin tones of what was generated differ, where the data is of aligned faces."""
    if not subject.data.aligned_faces or subject.shape[0] != 3:
        return [], ()
    stand_in = real.train.images[real.order[: real.compared]]
    made, wanted, floor = (skin_tone.angles(images) for images in (shown, real.test.images, stand_in))
    value, best = Measurement(skin_tone.distance(made, wanted)), Measurement(skin_tone.distance(floor, wanted))
    rows = zip(skin_tone.CLASSES, skin_tone.shares(made).values(), skin_tone.shares(wanted).values())
    return [_with_floor("skin_tone", value, best)], tuple(
        ToneRow(name=name, generated=generated, real=share) for name, generated, share in rows
    )


def _by_class(
    subject: EvaluatedGenerator,
    real: ReferenceStats,
    made: Generated,
    fake: ImageSet,
    protocol: Protocol,
    progress: Progress,
) -> tuple[dict[MetricName, Measurement], list[ClassRow]]:
    """GAN-train and GAN-test, and the same class by class."""
    try:
        wanted, test_labels = _labels(subject, real, made)
    except MetricError as error:
        return {name: Measurement(problem=str(error)) for name in BY_CLASS}, []
    assert fake.answers is not None
    classes, count = len(subject.card.class_names), gan_train_images(real.splits, protocol)
    learner = classifier.train(
        made.images[:count],
        wanted[:count],
        classes,
        protocol.classifier,
        real.splits.mirror,
        lambda done, of: progress("classifier on generated images", done, of),
    )
    right = learner.answers(real.splits.test.images).labels == test_labels
    asked, seen = wanted[: len(fake.images)], fake.answers.labels
    columns = (
        per_class(right, test_labels, classes),
        real.class_accuracy,
        per_class(seen == asked, asked, classes),
        np.bincount(asked, minlength=classes) / len(asked),
        np.bincount(seen, minlength=classes) / len(seen),
    )
    rows = [
        ClassRow.model_validate(dict(zip(ClassRow.model_fields, (name, *(_known(column[k]) for column in columns)))))
        for k, name in enumerate(subject.card.class_names)
    ]
    return {
        "gan_train": Measurement(float(right.mean())),
        "gan_test": try_measure(lambda: float((seen == asked).mean())),
    }, rows


def _labels(
    subject: EvaluatedGenerator, real: ReferenceStats, made: Generated
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels of the generated and of the test images, of the same classes."""
    if not subject.card.class_names:
        raise MetricError("the generator has no classes")
    if real.classifier is None or real.splits.test.labels is None:
        raise MetricError("the data has no labels")
    if not _same_classes(subject, real.splits) or made.labels is None:
        theirs, ours = (", ".join(names[:12]) for names in (real.train.class_names, subject.card.class_names))
        raise MetricError(f"the data's classes ({theirs}) are not the generator's ({ours})")
    return made.labels, real.splits.test.labels


def _in_inception(
    real: ReferenceStats, shown: Images, space: FeatureSpace | None, protocol: Protocol, progress: Progress
) -> list[MetricResult]:
    """The distances once more, in Inception-v3's features."""
    if space is None:
        return []
    stand_in = real.train.images[real.order[: real.compared]]
    found = []
    for k, images in enumerate((real.test.images, shown, stand_in)):
        progress("Inception-v3 features", k, 3)
        found.append(space.features(images))
    progress("Inception-v3 features", 3, 3)
    values, floors = distances(found[0], found[1], protocol), distances(found[0], found[2], protocol)
    return [_with_floor(INCEPTION + name, values[name], floors[name]) for name in ORDER if name in values]


def _figure(
    name: MetricName, value: Measurement, floor: Measurement | None, subject: EvaluatedGenerator
) -> MetricResult:
    figure = _with_floor(name, value, floor)
    applies = name not in BY_CLASS or bool(subject.card.class_names)
    return figure.model_copy(update={"applies": applies})


def _with_floor(name: str, value: Measurement, floor: Measurement | None) -> MetricResult:
    return MetricResult(
        name=name, value=value.value, sd=value.sd, problem=value.problem, real_baseline=floor.value if floor else None
    )


def _nothing_to_compare(
    subject: EvaluatedGenerator, splits: DataSplit, protocol: Protocol, pictures: list[Picture]
) -> EvaluationResult:
    ours, theirs = ("x".join(map(str, shape)) for shape in (subject.shape, splits.train.shape))
    problem = f"the data's images are {theirs} (channels, height, width), the generator's are {ours}"
    figures = tuple(MetricResult(name=name, problem=problem) for name in ORDER)
    report = Report(
        subject=subject.title,
        kimg=subject.kimg,
        protocol=protocol,
        machine=subject.sampler.fingerprint,
        data=_facts(splits, protocol),
        figures=figures,
        verdict=check_gate(figures, subject.gate),
        notes=(f"Nothing could be compared: {problem}.",),
    )
    return EvaluationResult(report, pictures)


def _facts(splits: DataSplit, protocol: Protocol) -> DataFacts:
    train, test = splits.train, splits.test
    return DataFacts(
        name=splits.whole.name,
        digest=splits.whole.digest,
        train_images=len(train),
        test_images=len(test),
        test_split=splits.origin,
        compared_images=min(protocol.compared_images, len(test), len(train)),
        gan_train_images=gan_train_images(splits, protocol),
    )


def notes(subject: EvaluatedGenerator, splits: DataSplit) -> list[str]:
    """Whether the generator was trained on these training images, on more of them, or on others."""
    seen = subject.card.training.data
    if seen.digest in (splits.train.digest, splits.whole.digest):
        if not splits.learned or seen.digest == splits.train.digest:
            return []
        return [
            "The data names no test images, so a share of it was held out for testing; but the generator was trained "
            "on that share as well, which flatters it. Train with --set data.holdout=0.1 to keep it aside."
        ]
    return [f"The generator was trained on other data ({seen.name}, sha256 {seen.digest[:12]})."]


def _blind(real: ReferenceStats) -> list[str]:
    """Whether the real-data classifier itself reads too little to judge by."""
    accuracy = real.floors.get("gan_test", Measurement()).value
    if accuracy is None or accuracy >= TELLING_ACCURACY:
        return []
    return [
        f"A classifier of real images reads only {accuracy:.0%} of real test images, so whatever rests on it (all but "
        "NDB and memorisation) says little about the generator."
    ]


def _same_classes(subject: EvaluatedGenerator, splits: DataSplit) -> bool:
    return tuple(subject.card.class_names) == tuple(splits.train.class_names)


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch's threads, and as they were afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
