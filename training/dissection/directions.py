"""Find directions of the latent space along which a measure grows, and check on other images that it does.

Not here: what is measured (training.dissection.measures), the file (models.directions).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.directions import Direction, make_vector
from models.latent_edits import move_latent
from models.sampler import Sampler
from training.dissection.measures import Measure, Values
from training.evaluation.classifier import Classifier
from training.progress import ProgressCallback, ignore_progress

FIT_SEED = 20_270_101
CHECK_SEED = FIT_SEED + 1
# How far a direction is checked to both sides; one that fails is tried less far.
REACHES = (2.0, 1.5, 1.0)
# What it must show from one end of its reach to the other, on images that it was not found by.
MIN_CHANGE = 1.0
MIN_SHARE = 0.8
MAX_CLASS_LOSS = 0.05
# A vector that loses all but this share of its length with what it has in common with others lies among them.
_LEAST_REST = 1e-6


class Samples(NamedTuple):
    """Latents and labels of n images: float32 (n, z_dim) and int64 (n,), which are 0 where there are no classes."""

    z: NDArray[np.float32]
    labels: NDArray[np.int64]


class Finding(NamedTuple):
    """A direction, and what moving along it did.

    Attributes:
        name: of the measure.
        direction: with the measure's means at the five values that `list_values` gives for its reach; None where there
            is none, and then nothing was moved.
        reach: how far to both sides it was checked: the furthest of `REACHES` at which nothing failed, or the last.
        change: of the mean from the first to the last value, in standard deviations of the measure within a class.
        share: of the images whose measure is greater at the last value than at the first.
        class_loss: by how much fewer images have their class at an end than without moving, by a classifier, as a
            share; of a direction of a label, what else the class says. None where no classifier was given.
        failures: what it did not meet, in words; empty if it may be written.
    """

    name: str
    direction: Direction | None
    reach: float
    change: float
    share: float
    class_loss: float | None
    failures: tuple[str, ...]


def draw_samples(sampler: Sampler, seed: int, count: int) -> Samples:
    """Return the latents and labels of images 0 to count - 1 of a seed."""
    addresses = sampler.manifest.addresses(seed, 0, count)
    labels = np.array([address.label or 0 for address in addresses], np.int64)
    return Samples(sampler.draw_inputs(addresses)[0], labels)


def fit_direction(values: Values, samples: Samples) -> NDArray[np.float64]:
    """Return the vector of a linear fit of a measure by the latent, within classes, of any length.

    Args: values, float64 (n,), of the images of `samples`.
    """
    z = samples.z.astype(np.float64)
    centred_z, centred_values = z.copy(), values.copy()
    for label in np.unique(samples.labels):
        rows = samples.labels == label
        centred_z[rows] -= z[rows].mean(axis=0)
        # Less the first, so that of equal values nothing is left by rounding.
        differences = values[rows] - values[rows][0]
        centred_values[rows] = differences - differences.mean()
    vector: NDArray[np.float64] = np.linalg.lstsq(centred_z, centred_values, rcond=None)[0]
    return vector


def remove_components(vector: NDArray[np.float64], directions: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return a vector without what it has in common with others, some of which may be 0 or depend on each other.

    Along it, what the others stand for stays more nearly as it is (conditional manipulation: Shen et al., arXiv
    1907.10786, section 2.2).
    """
    if not directions:
        return vector
    span = np.stack(directions, axis=1)
    rest: NDArray[np.float64] = vector - span @ np.linalg.lstsq(span, vector, rcond=None)[0]
    return rest


def find_directions(
    sampler: Sampler,
    measures: Sequence[Measure],
    fit_images: int,
    check_images: int,
    classifier: Classifier | None = None,
    progress: ProgressCallback = ignore_progress,
) -> list[Finding]:
    """Fit a direction to each measure on some images and move others along it.

    Args:
        sampler: of the model.
        measures: what to find directions for.
        fit_images: how many images to fit to; more than the length of z.
        check_images: how many images to move.
        classifier: of the model's classes, to tell whether moved images keep theirs.
        progress: called after each measure.
    """
    samples = draw_samples(sampler, FIT_SEED, fit_images)
    images = sampler.render(*samples)
    others = draw_samples(sampler, CHECK_SEED, check_images)
    vectors = [fit_direction(measure.compute(images), samples) for measure in measures]
    findings = []
    for k, measure in enumerate(measures):
        of_labels = [v for m, v in zip(measures, vectors) if m is not measure and m.kept is not None]
        rest = remove_components(vectors[k], of_labels)
        if np.linalg.norm(rest) > _LEAST_REST * np.linalg.norm(vectors[k]):
            findings.append(check_direction(sampler, measure, make_vector(rest), others, classifier))
        else:
            of_class = " of a class" if sampler.manifest.class_names else ""
            same = f"the measure is the same for all images{of_class}"
            why = "it has all in common with other labels" if vectors[k].any() else same
            findings.append(Finding(measure.name, None, 0, 0, 0, None, (why,)))
        progress("directions", k + 1, len(measures))
    return findings


def move_images(
    sampler: Sampler, samples: Samples, vector: NDArray[np.float32], values: Sequence[float]
) -> list[NDArray[np.uint8]]:
    """Return the images at each value V: of z + V d, as `dir.NAME=V` of an address gives them."""
    moved = []
    for value in values:
        z = np.stack([move_latent(row, (("d", value),), {"d": vector}) for row in samples.z])
        moved.append(sampler.render(z, samples.labels))
    return moved


def list_values(reach: float) -> tuple[float, ...]:
    """Return the values of V at which a direction is checked: even, from -reach to reach, 0 among them."""
    return (-reach, -reach / 2, 0.0, reach / 2, reach)


def check_direction(
    sampler: Sampler,
    measure: Measure,
    vector: tuple[float, ...],
    samples: Samples,
    classifier: Classifier | None = None,
) -> Finding:
    """Move images along a direction of length 1, as far as it does what it says, and judge what the measure does."""

    # Reaches have values in common.
    @cache
    def images_at(value: float) -> NDArray[np.uint8]:
        return move_images(sampler, samples, np.array(vector, np.float32), [value])[0]

    @cache
    def measure_at(value: float) -> Values:
        return measure.check(images_at(value))

    @cache
    def share_kept_at(value: float) -> float:
        assert classifier
        return _share_kept(classifier.predict(images_at(value)).labels, samples.labels, measure.kept)

    for reach in REACHES:
        values = np.stack([measure_at(value) for value in list_values(reach)])
        class_loss = None
        if classifier is not None:
            class_loss = share_kept_at(0.0) - min(share_kept_at(-reach), share_kept_at(reach))
        finding = _judge(measure, vector, reach, values, samples.labels, class_loss)
        if not finding.failures:
            break
    return finding


def _judge(
    measure: Measure,
    vector: tuple[float, ...],
    reach: float,
    values: Values,
    labels: NDArray[np.int64],
    class_loss: float | None,
) -> Finding:
    """Judge what moving did to images of these labels.

    Args: values, float64 (5, n), of the measure at each V of the reach.
    """
    means = values.mean(axis=1)
    unmoved = values[len(values) // 2]
    deviation = float(np.sqrt(np.mean((unmoved - _class_means(unmoved, labels)) ** 2)))
    change = float(means[-1] - means[0]) / max(deviation, 1e-9)
    share = float(np.mean(values[-1] > values[0]))
    direction = Direction(
        name=measure.name,
        description=measure.description,
        measure=measure.definition,
        means=tuple((value, round(float(mean), 4)) for value, mean in zip(list_values(reach), means)),
        vector=vector,
    )
    return Finding(
        measure.name, direction, reach, change, share, class_loss, _list_failures(means, change, share, class_loss)
    )


def _share_kept(found: NDArray[np.int64], wanted: NDArray[np.int64], kept: NDArray[np.int64] | None) -> float:
    """Return the share of images in which a classifier finds what they must keep (`Measure.kept`)."""
    return float(np.mean(found == wanted if kept is None else kept[found] == kept[wanted]))


def _list_failures(means: Values, change: float, share: float, class_loss: float | None) -> tuple[str, ...]:
    failures = []
    if not (np.diff(means) > 0).all():
        failures.append("the mean does not grow at every step")
    if change < MIN_CHANGE:
        failures.append(f"the mean grows by {change:.2f} standard deviations, less than {MIN_CHANGE:g}")
    if share < MIN_SHARE:
        failures.append(f"{share:.0%} of the images move that way, less than {MIN_SHARE:.0%}")
    if class_loss is not None and class_loss > MAX_CLASS_LOSS:
        failures.append(f"{class_loss:.0%} of the images lose their class, more than {MAX_CLASS_LOSS:.0%}")
    return tuple(failures)


def _class_means(values: Values, labels: NDArray[np.int64]) -> Values:
    """Return for each image the mean of its class."""
    means = np.empty_like(values)
    for label in np.unique(labels):
        means[labels == label] = values[labels == label].mean()
    return means
