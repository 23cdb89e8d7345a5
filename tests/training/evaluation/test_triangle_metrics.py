"""Precision falls where images are no triangles, recall where triangles are missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import MetricError
from training.data import triangles
from training.evaluation.triangle_metrics import (
    NEAR,
    draw_test_triangles,
    find_nearest_triangles,
    generate_images,
    measure_precision,
    measure_recall,
)

REAL = draw_test_triangles(200)
Z_DIM = 3


class Drawing(nn.Module):
    """Draws triangles: latents become angles; `spread` 0 makes one triangle only."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.tensor(spread))

    def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
        turn, *arcs = (float(self.spread) * z.double().numpy()).T
        spare = np.stack([np.zeros(len(z)), *arcs], axis=1)
        shares = np.exp(2 * spare) / np.exp(2 * spare).sum(axis=1, keepdims=True)
        lengths = triangles.MIN_ARC + shares * (2 * np.pi - 3 * triangles.MIN_ARC)
        angles = 2 * turn[:, None] + np.cumsum(lengths, axis=1)
        return torch.from_numpy(triangles.draw(triangles.find_corners(angles)) * 2 - 1)[:, None]


def blur(images: NDArray[np.uint8], sd: float) -> NDArray[np.uint8]:
    offsets = range(-4, 5)
    weights = np.exp([-0.5 * (offset / sd) ** 2 for offset in offsets])
    blurred = images / weights.sum() ** 2
    for axis in (1, 2):
        blurred = sum(weight * np.roll(blurred, offset, axis) for weight, offset in zip(weights, offsets))
    pixels: NDArray[np.uint8] = np.rint(blurred).astype(np.uint8)
    return pixels


def test_real_triangles_are_triangles_and_blurred_ones_are_not() -> None:
    assert measure_precision(REAL) == 1.0
    assert measure_precision(blur(REAL, 0.4)) == 1.0
    assert measure_precision(blur(REAL, 0.8)) < 0.1


def test_near_is_where_half_of_all_triangles_with_a_corner_moved_by_a_pixel_are() -> None:
    random = np.random.RandomState(5)
    corners = triangles.find_corners(triangles.draw_angles(random, 400))
    angles = random.uniform(0, 2 * np.pi, 400)
    corners[:, 0] += np.stack([np.cos(angles), np.sin(angles)], axis=1)

    moved = np.rint(triangles.draw(corners) * 255).astype(np.uint8)

    assert measure_precision(moved) == pytest.approx(0.5, abs=0.1)


def test_mixtures_of_triangles_are_none() -> None:
    mixed = (REAL[:100] // 2 + REAL[100:] // 2).astype(np.uint8)

    assert measure_precision(mixed) < 0.05


def test_the_nearest_triangle_is_found() -> None:
    found = find_nearest_triangles(REAL)

    drawn = triangles.draw(triangles.find_corners(found.parameters))
    assert np.abs(drawn - REAL[..., 0] / 255).max() < 0.02
    assert found.distances.max() < 0.05


def test_a_generator_of_all_triangles_has_full_recall_and_one_of_a_single_triangle_has_none() -> None:
    assert measure_recall(REAL, Drawing(1.0), Z_DIM, starts=1024) > 0.9

    single = Drawing(0.0)
    assert measure_precision(generate_images(single, Z_DIM, 10)) == 1.0
    assert measure_recall(REAL, single, Z_DIM, starts=64) < 0.02


def test_descents_reach_triangles_that_no_start_is_near() -> None:
    generated = generate_images(Drawing(1.0), Z_DIM, 64).reshape(64, -1) / 255
    gaps = np.linalg.norm(REAL.reshape(200, 1, -1) / 255 - generated, axis=2).min(axis=1)
    assert (gaps <= NEAR).mean() < 0.1

    assert measure_recall(REAL, Drawing(1.0), Z_DIM, starts=64) > 0.6


def test_latents_that_are_never_drawn_do_not_count() -> None:
    """Only a turn of at least ten standard deviations would make the triangles of the other half."""
    assert 0.02 < measure_recall(REAL, Drawing(0.1), Z_DIM, starts=256) < 0.5


def test_what_is_not_finite_cannot_be_measured() -> None:
    with pytest.raises(MetricError, match="not finite"):
        generate_images(Drawing(float("nan")), Z_DIM, 4)
