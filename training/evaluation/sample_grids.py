"""Draws the pictures of a report."""

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
# Image pairs in a grid of nearest neighbours.
PAIRS = 14
TRAVERSED_DIMS = 6
# Latents on which the most active dimensions are measured.
PROBES = 3


class Picture(NamedTuple):
    """A picture of the report.

    Attributes:
        section: the heading under which it stands.
        title: its own heading.
        caption: what it shows, in a sentence.
        png: the bytes of the file.
        width: in pixels.
    """

    section: str
    title: str
    caption: str
    png: bytes
    width: int


def uncurated_samples(generator: EvaluatedGenerator, real_images: Dataset | None) -> list[Picture]:
    """Draw the first images of seed 0 beside held-out real images; one class a column if they are few."""
    num_classes = generator.num_classes
    is_class_grid = images.has_class_columns(num_classes)
    columns = images.class_grid_columns(num_classes)
    count = columns * ROWS
    addresses = generator.manifest.addresses(0, n=count, labels="balanced" if num_classes else None)
    caption = f"Uncurated: seed 0, indices 0 to {count - 1}" + (", one class a column" if is_class_grid else "")
    pictures = [_picture("Images", "Generated", caption, images.grid(generator.sampler.mint(addresses), columns))]
    if real_images is not None and real_images.shape == generator.shape:
        if real_images.labels is not None and is_class_grid:
            rows = _rows_by_class(real_images.labels, num_classes, columns)
        else:
            rows = np.arange(min(count, len(real_images)))
        real: Images = np.zeros((len(rows), *real_images.images.shape[1:]), np.uint8)
        real[rows < len(real_images)] = real_images.images[rows[rows < len(real_images)]]
        caption = "The first real images that were held out, for comparison"
        pictures.append(_picture("Images", "Real", caption, images.grid(real, columns)))
    return pictures


def latent_walks(generator: EvaluatedGenerator) -> list[Picture]:
    """Draw walks between pairs of latents, and along the most active dimensions of one latent."""
    return [_interpolations(generator), _single_dimensions(generator)]


def most_active_dims(generator: EvaluatedGenerator) -> list[int]:
    """Return the latent dimensions whose two extremes differ by the most pixel values, on a few latents."""
    z_dim = generator.manifest.latents.z_dim
    probes = np.stack([draw_latent(0, index, z_dim) for index in range(PROBES)])
    labels = np.tile(np.arange(PROBES) % max(generator.num_classes, 1), z_dim)
    extremes = []
    for extreme in (-REACH, REACH):
        z = np.repeat(probes[None], z_dim, axis=0)
        z[np.arange(z_dim), :, np.arange(z_dim)] = extreme
        extremes.append(generator.sampler.render(z.reshape(-1, z_dim), labels).astype(np.float32))
    change = np.abs(extremes[0] - extremes[1]).reshape(z_dim, -1).mean(axis=1)
    return [int(dim) for dim in np.argsort(-change, kind="stable")[:TRAVERSED_DIMS]]


def nearest_neighbour_grids(generated: Images, train: Images, neighbours: Neighbours) -> list[Picture]:
    """Draw generated images above their nearest training images: the closest pairs, and the first ones."""
    closeness = neighbours.distance / np.maximum(neighbours.mean_distance, 1e-9)
    closest = np.argsort(closeness, kind="stable")[:PAIRS]
    first = np.arange(min(PAIRS, len(generated)))
    return [
        _picture(
            "Memorisation",
            "The most suspicious",
            "Above: the generated images that are closest to a training image, relative to its neighbourhood. "
            "Below: that training image.",
            _paired_grid(generated[closest], train[neighbours.nearest_row[closest]]),
        ),
        _picture(
            "Memorisation",
            "Ordinary ones",
            "Above: the first generated images. Below: the nearest training image of each.",
            _paired_grid(generated[first], train[neighbours.nearest_row[first]]),
        ),
    ]


def misclassified_grid(
    generated: Images, requested: NDArray[np.int64], predicted: NDArray[np.int64], class_names: tuple[str, ...]
) -> list[Picture]:
    """Draw generated images that the real-data classifier assigns to another class than the requested one.

    Args:
        generated: uint8 (n, H, W, C).
        requested: int64 (n,).
        predicted: int64 (n,).
        class_names: one name a class.

    Returns:
        One picture, or none if there is no such image.
    """
    rows = np.flatnonzero(requested != predicted)[: 2 * PAIRS]
    if not len(rows):
        return []
    pairs = ", ".join(f"{class_names[requested[row]]}→{class_names[predicted[row]]}" for row in rows)
    caption = f"Requested → classified as, row by row: {pairs}"
    return [_picture("Mistakes", "Images of the wrong class", caption, images.grid(generated[rows], PAIRS))]


def _interpolations(generator: EvaluatedGenerator) -> Picture:
    z_dim = generator.manifest.latents.z_dim
    walks = [_slerp(draw_latent(0, 2 * row, z_dim), draw_latent(0, 2 * row + 1, z_dim)) for row in range(ROWS)]
    labels = np.repeat(np.arange(ROWS) % max(generator.num_classes, 1), STEPS)
    pixels = images.grid(generator.sampler.render(np.concatenate(walks), labels), STEPS)
    caption = "Each row walks along a great circle between two latents of one class"
    return _picture("Latent space", "Interpolations", caption, pixels)


def _single_dimensions(generator: EvaluatedGenerator) -> Picture:
    z_dim = generator.manifest.latents.z_dim
    label = 3 % max(generator.num_classes, 1)
    dims = most_active_dims(generator)
    latent = draw_latent(0, 0, z_dim)[None]
    z = np.concatenate([traverse(latent, dim) for dim in dims])
    pixels = images.grid(generator.sampler.render(z, np.full(len(z), label)), STEPS)
    caption = (
        f"Each row moves one number of a latent from -{REACH:g} to {REACH:g}: z[{'], z['.join(map(str, dims))}], "
        "the dimensions that change pixels most"
    )
    return _picture("Latent space", "Single dimensions", caption, pixels)


def _rows_by_class(labels: NDArray[np.int64], num_classes: int, columns: int) -> NDArray[np.int64]:
    """Return rows of real images in the order of a grid with one class a column; len(labels) for an empty place."""
    rows = np.full((ROWS, columns), len(labels))
    for column in range(columns):
        repeat, label = divmod(column, num_classes)
        members = np.flatnonzero(labels == label)[repeat * ROWS : (repeat + 1) * ROWS]
        rows[: len(members), column] = members
    return rows.reshape(-1)


def _slerp(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 (STEPS, z_dim), latents along the great circle from a to b (arXiv 1609.04468, section 2.1)."""
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    t = np.linspace(0.0, 1.0, STEPS)[:, None]
    walk: NDArray[np.float32] = ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)).astype(
        np.float32
    )
    return walk


def _paired_grid(above: Images, below: Images) -> NDArray[np.uint8]:
    return images.grid(np.concatenate([above, below]), len(above))


def _picture(section: str, title: str, caption: str, pixels: NDArray[np.uint8]) -> Picture:
    return Picture(section, title, caption, images.encode(pixels, "image/png"), pixels.shape[1])
