"""Measure precision and recall on triangles, whose family is known exactly (Lucic et al., arXiv 1711.10337, section 5).

An image is on a family if the family has an image at most NEAR from it, in Euclidean distance with pixels from 0 to 1.
Precision is the share of generated images that are on the triangles, recall the share of triangles that are on what the
generator makes of its latents. Both are lower bounds, because a descent can end beside the nearest image.

NEAR is the median distance of triangles one corner of which was moved by a pixel. Most that were shifted by half a
pixel, that lost a fifth at a corner, or that were blurred by a Gaussian of sd 0.7 pixels are farther away.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.errors import MetricError
from models.latents import draw_latent
from training.data import triangles
from training.data.triangles import Angles
from training.evaluation.nearest_point import Family, Nearest, Parameters, Values, find_nearest

NEAR = 1.5
# At most, of a descent. Nearly all that get near do so within five.
STEPS = 12
# Triangles from which descents to triangles start: so many that each test triangle is found.
DRAWN_STARTS = 4096
TEST_SEED, START_SEED = 2, 3
BATCH = 64


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        images: the first images of seed 0, of which precision is a share.
        triangles: test triangles, of which recall is a share.
        starts: the first images of seed 0, from which descents to generated images start.
    """

    images: int
    triangles: int
    starts: int


EVALUATION = Sizes(images=1000, triangles=500, starts=4096)
# Of a tick while training: rough, but of little weight beside the training itself.
TICK = Sizes(images=200, triangles=64, starts=512)


def measure_precision(images: NDArray[np.uint8]) -> float:
    """Return the share of images, uint8 (n, SIDE, SIDE, 1), that are on the triangles."""
    return _share_near(_to_values(images), _drawn_triangles())


def measure_recall(images: NDArray[np.uint8], generator: nn.Module, z_dim: int, starts: int) -> float:
    """Return the share of triangles, uint8 (n, SIDE, SIDE, 1), that are on what a generator makes.

    Args:
        images: test triangles.
        generator: without classes; its outputs are grey images of SIDE pixels.
        z_dim: of its latents.
        starts: as of Sizes.
    Raises: MetricError: some of what it makes is not finite.
    """
    return _share_near(_to_values(images), _generated_images(generator, z_dim, starts))


def find_nearest_triangles(images: NDArray[np.uint8]) -> Nearest:
    """Find the triangle nearest to each image, uint8 (n, SIDE, SIDE, 1); parameters are the angles of its corners."""
    return find_nearest(_to_values(images), _drawn_triangles(), 0.0, STEPS)


def draw_test_triangles(count: int) -> NDArray[np.uint8]:
    """Draw triangles that are no training images: uint8 (count, SIDE, SIDE, 1)."""
    return triangles.draw_images(np.random.RandomState(TEST_SEED), count)


def generate_images(generator: nn.Module, z_dim: int, count: int) -> NDArray[np.uint8]:
    """Generate the first images of seed 0: uint8 (count, SIDE, SIDE, 1).

    Raises: MetricError: they are not finite.
    """
    values = _make_images(generator, _draw_latents(z_dim, count))
    return np.rint(255 * values).astype(np.uint8).reshape(-1, triangles.SIDE, triangles.SIDE, 1)


def _share_near(targets: Values, family: Family) -> float:
    return float((find_nearest(targets, family, NEAR, STEPS).distances <= NEAR).mean())


def _to_values(images: NDArray[np.uint8]) -> Values:
    values: Values = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return values


@cache
def _drawn_triangles() -> Family:
    def make(angles: Angles) -> Values:
        return triangles.draw(triangles.find_corners(angles)).reshape(len(angles), -1)

    angles = triangles.draw_angles(np.random.RandomState(START_SEED), DRAWN_STARTS)
    return Family(make, triangles.keep_apart, angles, make(angles))


def _generated_images(generator: nn.Module, z_dim: int, starts: int) -> Family:
    latents = _draw_latents(z_dim, starts)
    # Longer ones are never drawn: the generator did not learn what to make of them.
    longest = np.linalg.norm(latents, axis=1).max()

    def keep(moved: Parameters) -> Parameters:
        kept: Parameters = moved * (longest / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), longest))
        return kept

    return Family(lambda z: _make_images(generator, z), keep, latents, _make_images(generator, latents))


def _draw_latents(z_dim: int, count: int) -> Parameters:
    return np.stack([draw_latent(0, index, z_dim) for index in range(count)]).astype(np.float64)


def _make_images(generator: nn.Module, latents: Parameters) -> Values:
    """Return what the generator makes, clipped, float32 (n, pixels) from 0 to 1."""
    device = next(generator.parameters()).device
    with torch.no_grad():
        batches = [
            generator(z.to(device), torch.zeros(len(z), 0, device=device)).flatten(1).cpu()
            for z in torch.split(torch.from_numpy(latents).float(), BATCH)
        ]
    values: Values = torch.cat(batches).numpy()
    if not np.isfinite(values).all():
        raise MetricError("some values of generated images are not finite numbers")
    return np.clip((values + 1) / 2, 0, 1)
