"""The resolution at which images are compared with their reconstructions. Importing this does not load torch."""

from __future__ import annotations

# Compare images at this resolution, so that small shifts of a stroke cost little.
MAX_SIDE = 16


def averaging_factor(height: int, width: int) -> int:
    """Return how many pixels a side are averaged: the images are halved until the shorter side is at most MAX_SIDE."""
    factor = 1
    while min(height, width) > MAX_SIDE * factor:
        factor *= 2
    return factor
