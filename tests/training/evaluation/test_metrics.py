"""Metrics agree with values computed by hand, and refuse input without a meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.errors import MetricError
from training.evaluation import metrics
from training.evaluation.metrics import Features


def normal(seed: int, count: int, dim: int = 4, mean: float = 0.0, sd: float = 1.0) -> Features:
    draws: Features = np.random.RandomState(seed).normal(mean, sd, (count, dim)).astype(np.float32)
    return draws


def points(*values: float) -> Features:
    return np.array(values, np.float32)[:, None]


def test_frechet_distance_of_one_dimensional_gaussians() -> None:
    """In one dimension the distance is (m1 - m2)^2 + (s1 - s2)^2."""
    a, b = points(-1.0, 0.0, 1.0), points(0.0, 3.0, 6.0)

    assert metrics.frechet_distance(a, b) == pytest.approx((0 - 3) ** 2 + (1 - 3) ** 2)


def test_frechet_distance_of_correlated_gaussians() -> None:
    """For covariances that commute the trace is the sum of (sqrt(l1) - sqrt(l2))^2."""
    base = normal(0, 400, 2).astype(np.float64)
    base -= base.mean(axis=0)
    base = base @ np.linalg.inv(np.linalg.cholesky(np.cov(base, rowvar=False))).T
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    a, b = (base * [2.0, 1.0]) @ turn, (base * [3.0, 5.0]) @ turn

    result = metrics.frechet_distance(a.astype(np.float32), b.astype(np.float32))

    assert result == pytest.approx((2 - 3) ** 2 + (1 - 5) ** 2, rel=1e-4)


def test_frechet_distance_of_a_set_to_itself_is_zero() -> None:
    a = normal(0, 50)
    assert metrics.frechet_distance(a, a) == pytest.approx(0.0, abs=1e-5)


def test_kernel_distance_is_the_unbiased_estimate() -> None:
    """Computed by hand for two points a side: k(x, y) = (x y + 1)^3."""
    real, fake = points(0.0, 1.0), points(2.0, 3.0)
    expected = 7**3 + 1 - 2 * (1 + 1 + 3**3 + 4**3) / 4

    result = metrics.kernel_distance(real, fake, subsets=3, size=2)

    assert result.mean == pytest.approx(expected)
    assert result.sd == pytest.approx(0.0)


def test_kernel_distance_of_one_distribution_is_about_zero() -> None:
    same = metrics.kernel_distance(normal(0, 2000), normal(1, 2000), subsets=20, size=500)
    other = metrics.kernel_distance(normal(0, 2000), normal(1, 2000, mean=1.0), subsets=20, size=500)

    assert abs(same.mean) < 0.02
    assert other.mean > 1.0


def test_precision_and_recall_count_samples_in_balls() -> None:
    """Balls around the real 0, 1, 2, 10 to the nearest other: radii 1, 1, 1, 8; around the fakes: 0.5, 0.5, 87.5."""
    real, fake = points(0.0, 1.0, 2.0, 10.0), points(2.0, 2.5, 90.0)

    assert metrics.precision_recall(real, fake, k=1) == pytest.approx((2 / 3, 2 / 4))


def test_density_and_coverage_count_balls() -> None:
    """3 lies on the edge of the ball of 2, hence outside, and in that of 10; 2.6 lies in both."""
    real, fake = points(0.0, 1.0, 2.0, 10.0), points(3.0, 2.6, 90.0)

    assert metrics.density_coverage(real, fake, k=1) == pytest.approx((3 / 3, 2 / 4))


def test_inception_score_ranges_from_one_to_the_number_of_classes() -> None:
    undecided = np.full((100, 5), 0.2, np.float32)
    decided = np.eye(5, dtype=np.float32)[np.arange(100) % 5]

    assert metrics.inception_score(undecided, splits=10).mean == pytest.approx(1.0)
    assert metrics.inception_score(decided, splits=10).mean == pytest.approx(5.0)
    assert metrics.inception_score(decided[np.zeros(100, int)], splits=10).mean == pytest.approx(1.0)


def test_few_bins_differ_unless_the_generator_collapsed() -> None:
    real = normal(0, 4000)

    assert metrics.different_bins(real, normal(1, 4000), bins=50) < 0.16
    assert metrics.different_bins(real, real, bins=50) == 0.0
    assert metrics.different_bins(real, np.repeat(real[:1], 4000, axis=0), bins=50) > 0.9


def test_nearest_neighbours_are_found_and_copies_have_distance_zero() -> None:
    pool = normal(0, 300, 784) * 100
    queries = np.concatenate([pool[[7, 250]], pool[[3]] + 1.0])

    result = metrics.nearest_neighbours(queries, pool, k=20)

    assert result.nearest_row.tolist() == [7, 250, 3]
    assert result.distance.tolist()[:2] == [0.0, 0.0]
    assert result.distance[2] == pytest.approx(math.sqrt(784), rel=1e-4)
    assert result.is_near_copy().tolist() == [True, True, True]
    assert not metrics.nearest_neighbours(normal(1, 20, 784) * 100, pool, k=20).is_near_copy().any()


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (
            lambda a: metrics.frechet_distance(a, a[:1]),
            "the Fréchet distance needs at least 2 images a side, there are 1",
        ),
        (lambda a: metrics.kernel_distance(a, a), "KID needs at least 1,000"),
        (lambda a: metrics.precision_recall(a, a, 4), "precision and recall needs at least 5"),
        (lambda a: metrics.density_coverage(a, a, 4), "density and coverage needs at least 5"),
        (lambda a: metrics.inception_score(a), "the Inception Score needs at least 100"),
        (lambda a: metrics.different_bins(a, a), "NDB needs at least 1,000"),
        (lambda a: metrics.nearest_neighbours(a, a), "nearest neighbours needs at least 51"),
    ],
)
def test_too_few_images_are_refused(measure: object, words: str) -> None:
    assert callable(measure)
    with pytest.raises(MetricError, match=words):
        measure(normal(0, 4))


def test_features_that_are_not_finite_are_refused() -> None:
    broken = normal(0, 20)
    broken[3, 1] = np.nan

    with pytest.raises(MetricError, match="not finite"):
        metrics.frechet_distance(normal(0, 20), broken)
