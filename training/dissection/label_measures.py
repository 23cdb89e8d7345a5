"""Measures of what a label says, where classes are combinations: how much an image looks like a value.

Classes such as "female 20-39" and "male 60+" have two attributes. A class fixes both, but within a class images still
look more or less like a value to a classifier.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.latent_edits import DIRECTION_NAME
from training.dissection.measures import Measure, Values
from training.evaluation.classifier import Classifier, Images

# Probabilities nearer to 0 or 1 are taken as this, so that their log odds are finite.
_SMALLEST = 1e-6


class Attribute(NamedTuple):
    """A part of the class names.

    Attributes:
        label: whose values they are.
        name: of its direction: the second of two values, else the label; empty where neither can be one.
        values: in the order of the classes.
        ranks: int64 (num_classes,), the position of each class's value.
        others: int64 (num_classes,), which differs where any other label does.
    """

    label: str
    name: str
    values: tuple[str, ...]
    ranks: NDArray[np.int64]
    others: NDArray[np.int64]


def list_attributes(label_values: Mapping[str, Sequence[str]], taken: Collection[str] = ()) -> list[Attribute]:
    """Return the attributes of which classes are combinations: labels with several values.

    Args:
        label_values: each label's value in every class (`Manifest.label_values`).
        taken: names that other directions have.
    """
    distinct = {label: tuple(dict.fromkeys(of_class)) for label, of_class in label_values.items()}
    parts = {label: values for label, values in distinct.items() if len(values) > 1}
    names = _choose_names(parts, taken)
    attributes = []
    for label, values in parts.items():
        ranks = np.array([values.index(value) for value in label_values[label]], np.int64)
        rest = list(zip(*(other for key, other in label_values.items() if key != label))) or [()] * len(ranks)
        others = np.array([rest.index(other) for other in rest], np.int64)
        attributes.append(Attribute(label, names[label], values, ranks, others))
    return attributes


def _choose_names(values_of_label: Mapping[str, Sequence[str]], taken: Collection[str]) -> dict[str, str]:
    """Return a name for the direction of each label that no other has (`Attribute.name`)."""
    by_label = {label: make_direction_name(label) for label in values_of_label}
    by_value = {label: make_direction_name(v[1]) for label, v in values_of_label.items() if len(v) == 2}
    labels = Counter(by_label.values())
    # A value's name yields to every other one, and a label's to those of labels.
    all_names = labels + Counter(by_value.values())

    def choose(label: str) -> str:
        for name, counts in ((by_value.get(label, ""), all_names), (by_label[label], labels)):
            if counts[name] == 1 and name not in taken and DIRECTION_NAME.fullmatch(name):
                return name
        return ""

    return {label: choose(label) for label in values_of_label}


def make_direction_name(text: str) -> str:
    """Return a text as the name of a direction, as far as its letters and digits can be one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def make_label_measure(attribute: Attribute, classifier: Classifier, other: Classifier) -> Measure:
    """Return the measure of an attribute by a classifier of the classes.

    Args:
        attribute: of the classes.
        classifier: by which the direction is found.
        other: trained from another seed, by which it is checked.
    """
    first, last = attribute.values[0], attribute.values[-1]
    scale = "log odds" if len(attribute.values) == 2 else "expected position among " + ", ".join(attribute.values)

    def compute_by(judge: Classifier, images: Images) -> Values:
        return score_attribute(judge.predict(images).probabilities, attribute)

    return Measure(
        attribute.name,
        f"looks more like the {attribute.label} {last!r} than {first!r} to a classifier of the data's labels",
        f"{scale} by the evaluation's classifier, found by one and checked by another",
        lambda images: compute_by(classifier, images),
        lambda images: compute_by(other, images),
        attribute.others,
    )


def make_number_measure(
    name: str, column: str, values: Sequence[float], classifier: Classifier, other: Classifier
) -> Measure:
    """Return the measure of a number that the data have for each image.

    Args:
        name: of its direction.
        column: of the data.
        values: for which the classes stand.
        classifier: of images by the nearest value, by which the direction is found.
        other: trained from another seed, by which it is checked.
    """

    def compute_by(judge: Classifier, images: Images) -> Values:
        expected: Values = judge.predict(images).probabilities.astype(np.float64) @ np.array(values)
        return expected

    return Measure(
        name,
        f"looks as if {column} of the data were greater",
        f"expected {column} by classifiers of {len(values)} values, found by one and checked by another",
        lambda images: compute_by(classifier, images),
        lambda images: compute_by(other, images),
    )


def score_attribute(probabilities: NDArray[np.float32], attribute: Attribute) -> Values:
    """Return how much images look like the later values.

    Args: probabilities, float32 (n, num_classes); attribute, of the classes.
    Returns: float64 (n,): log odds of two values; the expected position of more.
    """
    by_value = probabilities.astype(np.float64) @ np.eye(len(attribute.values))[attribute.ranks]
    if len(attribute.values) > 2:
        positions: Values = by_value @ np.arange(len(attribute.values))
        return positions
    p = np.clip(by_value[:, 1], _SMALLEST, 1 - _SMALLEST)
    return np.log(p / (1 - p))
