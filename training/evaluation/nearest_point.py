"""Find how near images come to a family of images, by descent on the family's parameters.

The family is given by a function from parameters to images: a drawing, or a generator with its latents. The descent is
Levenberg's and Marquardt's (doi 10.1137/0111030) with derivatives by differences, because such families have few
parameters. It finds an upper bound of the distance: a descent may end beside the nearest point, never nearer than it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Parameters = NDArray[np.float64]

# Change of one parameter by which a derivative is measured.
DIFFERENCE = 0.01
# The damping, as a share of the curvature: at first, after a step that came nearer, and after one that did not.
DAMPING, LESS, MORE = 0.01, 0.3, 5.0
# For parameters that change nothing.
LEAST_DAMPING = 1e-6
# Targets that are compared with all starts at once.
COMPARED = 256


class Family(NamedTuple):
    """A family of images.

    Attributes:
        make: float64 (n, k) parameters to float32 (n, pixels).
        keep: brings parameters (n, k) back to where the family has images.
        parameters: of the images in `images`, float64 (m, k).
        images: float32 (m, pixels), which descents start from.
    """

    make: Callable[[Parameters], Values]
    keep: Callable[[Parameters], Parameters]
    parameters: Parameters
    images: Values


class Nearest(NamedTuple):
    """The images of a family that are nearest to others: their parameters (n, k), and the distances (n,)."""

    parameters: Parameters
    distances: NDArray[np.float64]


def find_nearest(targets: Values, family: Family, near: float, steps: int) -> Nearest:
    """Find the image of a family that is nearest to each of others, in Euclidean distance.

    Args:
        targets: float32 (n, pixels).
        family: where the descent of each target starts from its nearest image.
        near: a target that is at most this far from the family is not brought nearer.
        steps: at most, for each target.
    """
    chosen, distances = _find_starts(targets, family.images)
    parameters = family.parameters[chosen]
    images = family.images[chosen]
    damping = np.full(len(targets), DAMPING)
    for _ in range(steps):
        rows = np.flatnonzero(distances > near)
        if not len(rows):
            break
        moved = family.keep(
            parameters[rows] + _step(targets[rows], parameters[rows], images[rows], damping[rows], family)
        )
        made = family.make(moved)
        reached = np.linalg.norm(targets[rows] - made, axis=1)
        is_nearer = reached < distances[rows]
        damping[rows] *= np.where(is_nearer, LESS, MORE)
        better = rows[is_nearer]
        parameters[better], images[better], distances[better] = moved[is_nearer], made[is_nearer], reached[is_nearer]
    return Nearest(parameters, distances)


def _find_starts(targets: Values, images: Values) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the row of the image that is nearest to each target, and its distance."""
    squares = np.einsum("np,np->n", images, images)
    parts = np.split(targets, range(COMPARED, len(targets), COMPARED))
    chosen = np.concatenate([(squares - 2 * part @ images.T).argmin(axis=1) for part in parts])
    return chosen, np.linalg.norm(targets - images[chosen], axis=1).astype(np.float64)


def _step(
    targets: Values, parameters: Parameters, images: Values, damping: NDArray[np.float64], family: Family
) -> Parameters:
    """Return the changes of parameters, whose images are `images`, that lead towards the targets; float64 (n, k)."""
    slopes = _measure_slopes(parameters, images, family)
    curvature = (slopes @ slopes.transpose(0, 2, 1)).astype(np.float64)
    downhill = np.einsum("nkp,np->nk", slopes, targets - images).astype(np.float64)
    added = damping[:, None] * np.einsum("nkk->nk", curvature) + LEAST_DAMPING
    return np.linalg.solve(curvature + np.eye(parameters.shape[1]) * added[:, None], downhill[..., None])[..., 0]


def _measure_slopes(parameters: Parameters, images: Values, family: Family) -> Values:
    """Return how images change with each parameter, float32 (n, k, pixels)."""
    rows, count = parameters.shape
    shifted = parameters[:, None] + DIFFERENCE * np.eye(count)
    made = family.make(shifted.reshape(-1, count)).reshape(rows, count, -1)
    slopes: Values = (made - images[:, None]) / np.float32(DIFFERENCE)
    return slopes
