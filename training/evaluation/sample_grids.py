"""The pictures of a report.

Knows: which images are shown, and how they are laid out. Does not know: metrics, HTML.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import images
from models.latents import draw_latent
from training.data.dataset import Dataset
from training.evaluation.classifier import Images
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.metrics import Neighbours
from training.runs.latent_traversal import REACH, STEPS, traverse

ROWS = images.GRID_ROWS
PAIRS = 14
TRAVERSED = 6
# Enough latents to tell which dimensions do something.
PROBES = 3
GAP = 4


class Picture(NamedTuple):
    """One picture with its words; `png` are the file's bytes, `width` its pixels across."""

    section: str
    title: str
    caption: str
    png: bytes
    width: int


def grids(subject: EvaluatedGenerator, test: Dataset | None) -> list[Picture]:
    """Uncurated images, one class per column if classes are few, beside real test images."""
    classes = len(subject.card.class_names)
    columns = images.class_grid_columns(classes)
    by_class = images.has_class_columns(classes)
    addresses = subject.card.addresses(0, n=columns * ROWS, labels="balanced" if classes else None)
    caption = f"Uncurated: seed 0, indices 0 to {columns * ROWS - 1}" + (", one class a column" if by_class else "")
    made = _picture("Images", "Generated", caption, images.grid(subject.sampler.mint(addresses), columns))
    if test is None or test.shape != subject.shape:
        return [made]
    if test.labels is not None and by_class:
        rows = _by_column(test, classes, columns)
    else:
        rows = np.arange(min(columns * ROWS, len(test)))
    shown: Images = np.zeros((len(rows), *test.images.shape[1:]), np.uint8)
    shown[rows < len(test)] = test.images[rows[rows < len(test)]]
    real = images.grid(shown, columns)
    return [made, _picture("Images", "Real", "The first test images, for comparison", real)]


def paths(subject: EvaluatedGenerator) -> list[Picture]:
    """Walks between latents, and along single dimensions of one latent."""
    z_dim, classes = subject.card.latents.z_dim, max(len(subject.card.class_names), 1)
    rows = [_slerp(draw_latent(0, 2 * k, z_dim), draw_latent(0, 2 * k + 1, z_dim)) for k in range(ROWS)]
    labels = np.repeat(np.arange(ROWS) % classes, STEPS)
    walks = images.grid(subject.sampler.render(np.concatenate(rows), labels), STEPS)
    moved = _strongest(subject)
    z = np.concatenate([traverse(draw_latent(0, 0, z_dim)[None], dimension) for dimension in moved])
    traversal = images.grid(subject.sampler.render(z, np.full(len(z), 3 % classes)), STEPS)
    return [
        _picture(
            "Latent space",
            "Interpolations",
            "Each row walks along a great circle between two latents of one class",
            walks,
        ),
        _picture(
            "Latent space",
            "Single dimensions",
            f"Each row moves one number of a latent from -{REACH:g} to {REACH:g}: z[{'], z['.join(map(str, moved))}], "
            "the dimensions that change pixels most",
            traversal,
        ),
    ]


def twins(made: Images, train: Images, found: Neighbours) -> list[Picture]:
    """Generated images over their nearest training images: the closest of all, and the first ones."""
    closest = np.argsort(found.distance / np.maximum(found.around, 1e-9), kind="stable")[:PAIRS]
    return [
        _picture("Memorisation", title, caption, _pairs(made[rows], train[found.row[rows]]))
        for title, caption, rows in (
            (
                "The most suspicious",
                "Above: the generated images that are closest to a training image for what is usual around it. "
                "Below: that training image.",
                closest,
            ),
            (
                "Ordinary ones",
                "Above: the first generated images. Below: the nearest training image of each.",
                np.arange(min(PAIRS, len(made))),
            ),
        )
    ]


def mistakes(made: Images, wanted: NDArray[np.int64], seen: NDArray[np.int64], names: tuple[str, ...]) -> list[Picture]:
    """Generated images that the real-data classifier takes for another class than was asked for."""
    rows = np.flatnonzero(wanted != seen)[: 2 * PAIRS]
    if not len(rows):
        return []
    words = ", ".join(f"{names[wanted[r]]}→{names[seen[r]]}" for r in rows)
    caption = f"Asked for → seen as, row by row: {words}"
    return [_picture("Mistakes", "Images of the wrong class", caption, images.grid(made[rows], PAIRS))]


def _by_column(test: Dataset, num_classes: int, columns: int) -> NDArray[np.int64]:
    """Return rows of test images so that each column of a grid shows one class; len(test) where there is none."""
    assert test.labels is not None
    rows = np.full((ROWS, columns), len(test))
    for column in range(columns):
        cycle, label = divmod(column, num_classes)
        members = np.flatnonzero(test.labels == label)[cycle * ROWS :][:ROWS]
        rows[: len(members), column] = members
    return rows.reshape(-1)


def _slerp(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """STEPS latents along the great circle from a to b (arXiv 1609.04468, section 2.1)."""
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    t = np.linspace(0.0, 1.0, STEPS)[:, None]
    walk: NDArray[np.float32] = ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)).astype(
        np.float32
    )
    return walk


def _strongest(subject: EvaluatedGenerator) -> list[int]:
    """The dimensions whose two ends differ by the most pixel values, on a few latents."""
    z_dim = subject.card.latents.z_dim
    probes = np.stack([draw_latent(0, index, z_dim) for index in range(PROBES)])
    ends = []
    for end in (-REACH, REACH):
        z = np.repeat(probes[None], z_dim, axis=0)
        z[np.arange(z_dim), :, np.arange(z_dim)] = end
        labels = np.tile(np.arange(PROBES) % max(len(subject.card.class_names), 1), z_dim)
        ends.append(subject.sampler.render(z.reshape(-1, z_dim), labels).astype(np.float32))
    change = np.abs(ends[0] - ends[1]).reshape(z_dim, -1).mean(axis=1)
    return [int(k) for k in np.argsort(-change, kind="stable")[:TRAVERSED]]


def _pairs(above: Images, below: Images) -> NDArray[np.uint8]:
    """Two rows: each image over its twin."""
    return images.grid(np.concatenate([above, below]), len(above))


def _picture(section: str, title: str, caption: str, pixels: NDArray[np.uint8]) -> Picture:
    return Picture(section, title, caption, images.encode(pixels, "image/png", "evaluation report"), pixels.shape[1])
