import hashlib

import numpy as np
import pytest

from training.data import triangles
from training.data.triangles import MIN_ARC, RADIUS_PIXELS, SIDE

# Of the first 500 images that are trained on, on any machine.
DIGEST = "5014a3ab4c60cf2cfa0865dac5a55362fb516bfda0c426b91293509a1442530e"


def test_a_triangle_is_drawn_where_its_corners_are() -> None:
    corners = np.array([[[-8, -6], [10, -6], [-8, 12]]], np.float64)

    (drawn,) = triangles.draw(corners)

    # Half of a pixel lies on each side of an edge that goes through its middle, and none do here.
    assert drawn[21, 8] == drawn[21, 24] == 1
    assert drawn[22:].max() == 0 and drawn[:, :8].max() == 0
    assert drawn[15, 15 + 4] == pytest.approx(0.5, abs=0.2)
    assert drawn.sum() == pytest.approx(18 * 18 / 2, rel=0.01)


def test_the_images_are_the_same_on_every_machine() -> None:
    images = triangles.draw_images(np.random.RandomState(1), 500)

    assert images.shape == (500, SIDE, SIDE, 1) and images.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == DIGEST


def test_drawn_triangles_lie_on_a_circle_with_corners_apart_and_their_mean_in_the_middle() -> None:
    angles = triangles.draw_angles(np.random.RandomState(1), 2000)
    corners = triangles.find_corners(angles)

    arcs = np.diff(angles, axis=1)
    assert min(arcs.min(), (2 * np.pi - arcs.sum(axis=1)).min()) >= MIN_ARC
    assert np.abs(corners.mean(axis=1)).max() < 1e-12
    assert np.abs(corners).max() < SIDE / 2
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    along, across = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = (along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) / 2
    assert sides.prod(axis=1) / (4 * areas) == pytest.approx(np.full(2000, RADIUS_PIXELS))
    # Uniform over arcs: each has a third of the circle on average.
    assert arcs.mean(axis=0) == pytest.approx(np.full(2, 2 * np.pi / 3), rel=0.05)


def test_corners_that_are_too_near_are_moved_apart_and_others_stay() -> None:
    angles = np.array([[0.1, 0.2, 3.0], [1.0, 3.0, 5.0]])

    kept = triangles.keep_apart(angles)

    assert kept[0, 0] == 0.1
    assert kept[0, 1] - kept[0, 0] == pytest.approx(MIN_ARC)
    assert kept[1] == pytest.approx(angles[1])
