import numpy as np
import pytest

from models.errors import MetricError
from training.data.toys import grey_triangles, modes_kept, toy1d, toy25


def test_toy_data_have_the_stated_distributions() -> None:
    one, grid = toy1d(), toy25()
    assert one.shape == (1, 1, 1)
    assert grid.shape == (2, 1, 1)
    assert one.images.mean() == pytest.approx(4.0, abs=0.02)
    assert one.images.std() == pytest.approx(1.25, abs=0.02)
    points = grid.images.reshape(-1, 2)
    centres, counts = np.unique(points.round(), axis=0, return_counts=True)
    assert len(centres) == 25
    assert counts.min() > 2300
    assert (points - points.round()).std() == pytest.approx(0.05, abs=0.001)
    assert np.array_equal(one.batch(np.array([5]))[0], one.images[[5]])


def test_triangles_are_grey_images() -> None:
    drawn = grey_triangles()

    assert drawn.has_images
    assert drawn.shape == (1, 32, 32)
    assert len(np.unique(drawn.images[:1000], axis=0)) == 1000


def test_modes_with_a_quarter_of_their_share_are_counted() -> None:
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    all_four = np.repeat(centres, 100, axis=0)
    three = np.concatenate([np.repeat(centres[:3], 130, axis=0), [[5, 5]] * 10]).astype(np.float32)

    assert modes_kept(all_four, centres, sd=0.05) == (4, 1.0)
    assert modes_kept(three, centres, sd=0.05) == pytest.approx((3, 0.975))


def test_modes_are_not_counted_where_there_is_too_little_to_count() -> None:
    centres = np.zeros((4, 2), np.float32)
    with pytest.raises(MetricError, match="the mode count needs at least 400 points, there are 4"):
        modes_kept(centres, centres, 1.0)
    with pytest.raises(MetricError, match="not finite"):
        modes_kept(np.full((400, 2), np.nan, np.float32), centres, 1.0)
