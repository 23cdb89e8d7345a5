"""Draw triangles: a family of images with three parameters, after Lucic et al. (arXiv 1711.10337, section 5).

Each triangle's corners lie on a circle, and the mean of its corners is the middle of the image. Here the images have 32
pixels a side instead of 28, rotations are uniform, and arcs of a minimal length take the place of one corner in each
third of the circle. Not here: how near other images come to this family (training.evaluation.triangle_metrics).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 32
RADIUS_PIXELS = 12.0
# Between two corners: narrower triangles would be fainter than a pixel.
MIN_ARC = np.radians(40.0)
# Corners lie on this grid: the last bits of a sine differ between machines, those of sums and products do not.
GRID_PIXELS = 1 / 1024
_FREE_ARC = 2 * np.pi - 3 * MIN_ARC
_CHUNK = 1024

Angles = NDArray[np.float64]
Pixels = NDArray[np.float32]


def draw_angles(random: np.random.RandomState, count: int) -> Angles:
    """Draw triangles, uniformly over their rotations and over the lengths of their arcs.

    Returns: float64 (count, 3), the angles of the corners in radians, ascending.
    """
    cuts = np.sort(random.uniform(0.0, _FREE_ARC, size=(count, 2)), axis=1)
    second, third = cuts[:, 0] + MIN_ARC, cuts[:, 1] + 2 * MIN_ARC
    first = random.uniform(0.0, 2 * np.pi, size=count)
    return np.stack([first, first + second, first + third], axis=1)


def keep_apart(angles: Angles) -> Angles:
    """Return angles with the first one unchanged, and arcs that are too short lengthened at the cost of the others."""
    first = angles[:, :1]
    arcs = np.diff(np.concatenate([angles, first + 2 * np.pi], axis=1), axis=1)
    spare = np.maximum(arcs - MIN_ARC, 0.0)
    arcs = MIN_ARC + spare * (_FREE_ARC / spare.sum(axis=1, keepdims=True))
    return np.concatenate([first, first + np.cumsum(arcs[:, :2], axis=1)], axis=1)


def find_corners(angles: Angles) -> NDArray[np.float64]:
    """Return x and y of the corners in pixels from the middle of the image, float64 (n, 3, 2)."""
    on_circle = RADIUS_PIXELS * np.stack([np.cos(angles), np.sin(angles)], axis=2)
    corners: NDArray[np.float64] = on_circle - on_circle.mean(axis=1, keepdims=True)
    return corners


def draw(corners: NDArray[np.float64]) -> Pixels:
    """Draw triangles with smooth edges.

    Args: corners, as from `find_corners`, counter-clockwise where y points up.
    Returns: float32 (n, SIDE, SIDE), 1 inside and 0 outside; what an edge leaves of a pixel goes by the distance of the
    pixel's middle from it.
    """
    return np.concatenate(
        [_draw(part.astype(np.float32)) for part in np.split(corners, range(_CHUNK, len(corners), _CHUNK))]
    )


def draw_images(random: np.random.RandomState, count: int) -> NDArray[np.uint8]:
    """Draw random triangles, the same on every machine: uint8 (count, SIDE, SIDE, 1)."""
    corners = np.rint(find_corners(draw_angles(random, count)) / GRID_PIXELS) * GRID_PIXELS
    images: NDArray[np.uint8] = np.rint(draw(corners) * np.float32(255.0)).astype(np.uint8)[..., None]
    return images


def _draw(corners: Pixels) -> Pixels:
    middles = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
    coverage: Pixels = np.ones((len(corners), SIDE, SIDE), np.float32)
    for corner in range(3):
        start, end = corners[:, corner], corners[:, (corner + 1) % 3]
        along = end - start
        inward = np.stack([-along[:, 1], along[:, 0]], axis=1)
        inward /= np.sqrt(inward[:, :1] ** 2 + inward[:, 1:] ** 2)
        offset = inward[:, 0] * start[:, 0] + inward[:, 1] * start[:, 1]
        by_column = inward[:, :1] * middles - offset[:, None] + np.float32(0.5)
        # Rows go down.
        by_row = inward[:, 1:] * -middles
        np.minimum(coverage, by_column[:, None, :] + by_row[:, :, None], out=coverage)
    np.maximum(coverage, np.float32(0.0), out=coverage)
    return coverage
