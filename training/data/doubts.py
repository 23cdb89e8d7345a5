"""Find what looks like a mistake in data that can be trained on: its owner knows whether it is one."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence

from training.data.layout import MAX_NAMED, SPLITS

# Parts of one set, as people number them; pix2pix's trainA and trainB, which are two sets.
_PART = re.compile(r"(train|test|val|fold|part|batch|shard|split|chunk|subset)[ _-]?([0-9]+|[ab])")
# Fewer classes can be as few as that on purpose.
MANY_CLASSES = 10


def doubt_classes(counts: Mapping[str, int], scales: Sequence[str] = ()) -> list[str]:
    """Return a sentence for each thing about the classes that looks like a mistake.

    Args:
        counts: the number of images by class; empty if they have no labels.
        scales: columns of many numbers, which can be a continuous label.
    """
    doubts = []
    by_form: dict[str, list[str]] = {}
    for name in counts:
        by_form.setdefault(_form(name), []).append(name)
    for names in [names for names in by_form.values() if len(names) > 1][:MAX_NAMED]:
        listed = " and ".join(map(repr, names))
        doubts.append(
            f"the classes {listed} differ in case, spaces, accents or zeros only; rename them if they are one"
        )
    splits = [name for name in counts if name.lower() in SPLITS]
    if splits:
        doubts.append(f"the class {splits[0]!r} has the name of a split, but there is no other split beside it")
    if len(counts) > 1 and all(_PART.fullmatch(name.lower()) for name in counts):
        listed = ", ".join(list(counts)[:MAX_NAMED])
        doubts.append(f"the classes ({listed}, ...) are named like parts of a set; give --unlabelled if they are")
    num_images = sum(counts.values())
    columns = " or ".join(f"--continuous-label {shlex.quote(column)}" for column in scales[:MAX_NAMED])
    if scales and not counts:
        doubts.append(f"images have numbers that no label is read from; {columns} learns them as one label")
    if len(counts) > max(MANY_CLASSES, num_images / 2):
        doubts.append(
            f"there are {len(counts)} classes for {num_images} images, too few of each to learn it; "
            f"give {f'{columns} to learn numbers as one label, or ' if scales else ''}--unlabelled to read none"
        )
    return doubts


def doubt_duplicates(duplicates: Sequence[Sequence[int]], num_training: int, labels: Sequence[str]) -> list[str]:
    """Return a sentence for pictures in two classes, and for training images among the test images.

    Args:
        duplicates: groups of images with equal pixels, by their places: training images, then test images.
        num_training: the number of training images.
        labels: of the training images; empty if there are none.
    """
    leaked = sum(sum(k >= num_training for k in group) for group in duplicates if group[0] < num_training)
    torn = sum(len({labels[k] for k in group if k < len(labels)}) > 1 for group in duplicates)
    doubts = [f"{torn} groups of equal images are in two classes; keep one image of each"] if torn else []
    return doubts + doubt_leaks(leaked)


def doubt_leaks(count: int) -> list[str]:
    """Return a sentence if so many test images are training images, too."""
    words = "test images are training images, too, which makes results look better; remove them"
    return [f"{count} {words}"] if count else []


def _form(name: str) -> str:
    """Return what names have in common that a reader would take for one."""
    words = unicodedata.normalize("NFC", name).casefold().split()
    return " ".join(word.lstrip("0") or "0" if word.isdigit() else word for word in words)
