"""Measures how much fine detail images have, so that blur and noise are noticed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import MetricError
from training.evaluation.classifier import Images

BATCH = 1000


def sharpness(real: Images, fake: Images) -> float:
    """Return the median energy of the Laplacian of `fake` over that of `real`: 1 for equally sharp images.

    Args:
        real: uint8 (n, H, W, C), at least 3x3.
        fake: uint8 (m, H, W, C).

    Raises:
        MetricError: the images are too small, or half of the real ones are flat.
    """
    if min(real.shape[1:3]) < 3:
        raise MetricError("sharpness needs images of at least 3x3 pixels")
    usual = float(np.median(laplacian_energy(real)))
    if not usual:
        raise MetricError("half of the real images have no detail at all")
    return float(np.median(laplacian_energy(fake))) / usual


def laplacian_energy(images: Images) -> NDArray[np.float64]:
    """Return the mean squared Laplacian (four neighbours) of each image, float64 (n,)."""
    return np.concatenate([_energy(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def _energy(images: Images) -> NDArray[np.float64]:
    x = images.astype(np.int32)
    around = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    energy: NDArray[np.float64] = np.square(4 * x[:, 1:-1, 1:-1] - around).mean(axis=(1, 2, 3))
    return energy
