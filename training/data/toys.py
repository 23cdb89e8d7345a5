"""The toy data, whose distributions are known exactly."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from models.errors import MetricError
from training.data import triangles
from training.data.dataset import Dataset

SAMPLES = 65536
# Of toy25: the means of its Gaussians, and the standard deviation of each.
CENTRES = np.array(list(itertools.product(range(-2, 3), repeat=2)), np.float32)
MODE_SD = 0.05


def toy1d() -> Dataset:
    """Draw 65,536 samples from N(4, 1.25), given as mean and standard deviation."""
    samples = np.random.RandomState(1).normal(4.0, 1.25, size=(SAMPLES, 1, 1, 1))
    return Dataset("toy1d", samples.astype(np.float32))


def toy25() -> Dataset:
    """Draw 65,536 samples from 25 equally likely Gaussians, sd 0.05, centred on {-2, -1, 0, 1, 2} squared."""
    random = np.random.RandomState(1)
    centres = random.randint(-2, 3, size=(SAMPLES, 2))
    samples = centres + random.normal(0.0, MODE_SD, size=(SAMPLES, 2))
    return Dataset("toy25", samples.astype(np.float32).reshape(-1, 2, 1, 1))


def grey_triangles() -> Dataset:
    """Draw 65,536 images of 32x32 pixels with a triangle each (training.data.triangles)."""
    return Dataset("triangles", triangles.draw_images(np.random.RandomState(1), SAMPLES))


def as_points(dataset: Dataset) -> NDArray[np.float32]:
    """Return all samples of toy data as points, float32 (N, dimensions)."""
    return dataset.images.reshape(len(dataset), -1).astype(np.float32)


# By the name of the preset, and of `data.kind`.
TOYS = {"toy1d": toy1d, "toy25": toy25, "triangles": grey_triangles}


def modes_kept(points: NDArray[np.float32], centres: NDArray[np.float32], sd: float) -> tuple[int, float]:
    """Count the modes of a mixture of Gaussians that a generator still makes (after arXiv 1705.07761, section 4).

    Args:
        points: float32 (n, d).
        centres: float32 (modes, d).
        sd: the standard deviation of every mode.

    Returns:
        The number of modes that get at least a quarter of an equal share, and the share of points within 4 sd of a mode
        (the paper uses 3 sd).
    Raises: MetricError: fewer than 100 points a mode, or values that are not finite.
    """
    if len(points) < 100 * len(centres):
        raise MetricError(f"the mode count needs at least {100 * len(centres):,} points, there are {len(points):,}")
    if not np.isfinite(points).all():
        raise MetricError("the mode count cannot be measured: some points are not finite numbers")
    distances = np.linalg.norm(points[:, None] - centres[None], axis=2)
    is_on_a_mode = distances.min(axis=1) <= 4 * sd
    counts = np.bincount(distances.argmin(axis=1)[is_on_a_mode], minlength=len(centres))
    return int((counts >= len(points) / (4 * len(centres))).sum()), float(is_on_a_mode.mean())
