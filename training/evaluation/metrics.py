"""Computes distances between sets of images from their features.

Features are float32 (n, d); `real` is the reference set and `fake` the set to measure. Every function raises
MetricError if its result would be meaningless, such as with too few samples. Not here: how images become features
(training.evaluation.features).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import MetricError

Features = NDArray[np.float32]
# Values of one block of a distance matrix: 128 MiB of float32.
BLOCK_VALUES = 1 << 25
KMEANS_STEPS = 25
# Two-sided, at a significance of 0.05 (arXiv 1805.12462, section 2).
Z_DIFFERENT = 1.959964
LEAST_PER_BIN = 10


class MeanSd(NamedTuple):
    """The mean and the standard deviation over parts of the sample."""

    mean: float
    sd: float


def frechet_distance(real: Features, fake: Features) -> float:
    """Return the squared Fréchet distance between Gaussians fitted to both sets (arXiv 1706.08500, equation 6).

    |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2)). Small samples bias it upwards, so compare
    values of one sample size only. With no more samples than features the covariances are singular
    and the bias is large.
    """
    _check_samples("the Fréchet distance", real, fake, at_least=2)
    # In torch, whose one thread gives the same bits however many threads numpy's library would take.
    a, b = (torch.from_numpy(features).double() for features in (real, fake))
    difference = a.mean(dim=0) - b.mean(dim=0)
    cov_a, cov_b = (torch.cov(features.T).reshape(a.shape[1], -1) for features in (a, b))
    # Tr (C_r C_f)^(1/2) from the symmetric matrix with the same eigenvalues.
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    trace_root = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float(difference @ difference + cov_a.trace() + cov_b.trace() - 2.0 * trace_root)


def kernel_distance(real: Features, fake: Features, subsets: int = 100, size: int = 1000, seed: int = 0) -> MeanSd:
    """Return KID, the unbiased squared MMD with the kernel (x.y / d + 1)^3 (arXiv 1801.01401, section 4).

    It is the mean over random subsets of `size` samples from each side and can be slightly below zero.
    """
    _check_samples("KID", real, fake, at_least=size)
    x_all, y_all = (torch.from_numpy(features).double() for features in (fake, real))
    rng = np.random.RandomState(seed)
    estimates = np.empty(subsets)
    for k in range(subsets):
        x = x_all[torch.from_numpy(rng.choice(len(fake), size, replace=False))]
        y = y_all[torch.from_numpy(rng.choice(len(real), size, replace=False))]
        xx, yy, xy = _cubic_kernel(x, x), _cubic_kernel(y, y), _cubic_kernel(x, y)
        within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (size * (size - 1))
        estimates[k] = float(within - 2.0 * xy.mean())
    return MeanSd(float(estimates.mean()), float(estimates.std()))


def precision_recall(real: Features, fake: Features, k: int = 3) -> tuple[float, float]:
    """Return improved precision and recall (arXiv 1904.06991, equations 1 and 2), each from 0 to 1.

    Precision is the share of `fake` inside the balls that reach from each real sample to its k-th
    nearest real neighbour. Recall is the same with the roles exchanged.
    """
    _check_samples("precision and recall", real, fake, at_least=k + 1)
    real_radii = _radii(real, k)
    fake_radii = _radii(fake, k)
    num_in_real = 0
    is_in_fake = np.zeros(len(real), bool)
    for start, distances in _distance_blocks(fake, real):
        num_in_real += int((distances <= real_radii).any(dim=1).sum())
        radii = fake_radii[start : start + len(distances), None]
        is_in_fake |= (distances <= radii).any(dim=0).numpy()
    return num_in_real / len(fake), float(is_in_fake.mean())


def density_coverage(real: Features, fake: Features, k: int = 5) -> tuple[float, float]:
    """Return density and coverage (arXiv 2002.09797, equations 4 and 5).

    Density is the mean number of real balls that hold a fake sample, over k; it is about 1 for a perfect generator and
    can be above. Coverage, from 0 to 1, is the share of real balls that hold any fake sample.
    """
    _check_samples("density and coverage", real, fake, at_least=k + 1)
    radii = _radii(real, k)
    num_inside = 0
    is_covered = np.zeros(len(real), bool)
    for _, distances in _distance_blocks(fake, real):
        inside = distances < radii
        num_inside += int(inside.sum())
        is_covered |= inside.any(dim=0).numpy()
    return num_inside / (k * len(fake)), float(is_covered.mean())


def inception_score(probabilities: Features, splits: int = 10) -> MeanSd:
    """Return the Inception Score, exp(E KL(p(y|x) || p(y))) (arXiv 1606.03498, section 4).

    It ranges from 1 to the number of classes.

    Args:
        probabilities: float32 (n, num_classes); rows sum to 1.
        splits: number of equal parts over which the mean is taken.
    """
    _check_samples("the Inception Score", probabilities, at_least=10 * splits)
    p = probabilities.astype(np.float64)
    scores = []
    for part in np.array_split(p, splits):
        ratio = np.log(part.clip(1e-300)) - np.log(part.mean(axis=0, keepdims=True).clip(1e-300))
        scores.append(np.exp((part * ratio).sum(axis=1).mean()))
    return MeanSd(float(np.mean(scores)), float(np.std(scores)))


def different_bins(real: Features, fake: Features, bins: int = 100, seed: int = 0) -> float:
    """Return NDB / K, the share of bins that differ significantly (arXiv 1805.12462, section 2).

    A bin differs if it holds too large or too small a share of the samples. The bins are the cells of k-means on
    `real`. Two samples of one distribution differ in about 5 % of the bins, a collapsed generator differs in most.
    """
    _check_samples("NDB", real, fake, at_least=LEAST_PER_BIN * bins)
    centres = _kmeans(real, bins, seed)
    p, q = (np.bincount(_nearest_centre(x, centres), minlength=bins) / len(x) for x in (real, fake))
    pooled = (p * len(real) + q * len(fake)) / (len(real) + len(fake))
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(real) + 1 / len(fake)))
    return float((np.abs(p - q) > Z_DIFFERENT * error).mean())


class Neighbours(NamedTuple):
    """The nearest neighbours of n samples in another set.

    Attributes:
        distance: float32 (n,), Euclidean distance to the nearest one; some 1e-3 at most for a copy.
        nearest_row: int64 (n,), the row of the nearest one in the other set.
        mean_distance: float32 (n,), mean distance to the `k` nearest ones.
    """

    distance: NDArray[np.float32]
    nearest_row: NDArray[np.int64]
    mean_distance: NDArray[np.float32]

    def is_near_copy(self, share: float = 0.5) -> NDArray[np.bool_]:
        """Return bool (n,), true for near-copies (arXiv 2301.13188, section 5.1).

        A near-copy is much closer to one sample than to the other neighbours.
        """
        return self.distance <= share * self.mean_distance


def nearest_neighbours(queries: Features, pool: Features, k: int = 50) -> Neighbours:
    """Find the nearest samples of `pool`, (m, d) with m above k, for each query, (n, d)."""
    _check_samples("nearest neighbours", pool, at_least=k + 1)
    _check_samples("nearest neighbours", queries, at_least=1)
    distance = np.empty(len(queries), np.float32)
    mean_distance = np.empty(len(queries), np.float32)
    nearest_row = np.empty(len(queries), np.int64)
    for start, distances in _distance_blocks(queries, pool):
        values, indices = distances.topk(k, dim=1, largest=False)
        rows = slice(start, start + len(distances))
        nearest_row[rows] = indices[:, 0].numpy()
        # The distance matrix is computed as x^2 - 2xy + y^2, which is inexact near zero.
        distance[rows] = np.linalg.norm(queries[rows] - pool[nearest_row[rows]], axis=1)
        mean_distance[rows] = values.mean(dim=1).numpy()
    return Neighbours(distance, nearest_row, mean_distance)


def _check_samples(what: str, *sets: Features, at_least: int) -> None:
    for features in sets:
        if len(features) < at_least:
            raise MetricError(f"{what} needs at least {at_least:,} images a side, there are {len(features):,}")
        if not np.isfinite(features).all():
            raise MetricError(f"{what} cannot be measured: some features are not finite numbers")


def _cubic_kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _distance_blocks(a: Features, b: Features) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the matrix of Euclidean distances in blocks: the number of the first row, and float32 (rows, len(b))."""
    rows = max(1, BLOCK_VALUES // len(b))
    columns = torch.from_numpy(b)
    for start in range(0, len(a), rows):
        block = torch.from_numpy(a[start : start + rows])
        yield start, torch.cdist(block, columns, compute_mode="use_mm_for_euclid_dist")


def _radii(features: Features, k: int) -> torch.Tensor:
    """Return the distance of each sample to its k-th nearest other sample."""
    # The nearest one is the sample itself.
    blocks = [distances.kthvalue(k + 1, dim=1).values for _, distances in _distance_blocks(features, features)]
    return torch.cat(blocks)


def _kmeans(features: Features, count: int, seed: int) -> Features:
    """Run Lloyd's algorithm from random samples; an empty cell keeps its centre."""
    centres: Features = features[np.random.RandomState(seed).choice(len(features), count, replace=False)].copy()
    for _ in range(KMEANS_STEPS):
        cells = _nearest_centre(features, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, cells, features)
        sizes = np.bincount(cells, minlength=count)
        centres[sizes > 0] = sums[sizes > 0] / sizes[sizes > 0, None]
    return centres


def _nearest_centre(features: Features, centres: Features) -> NDArray[np.int64]:
    index: NDArray[np.int64] = np.concatenate(
        [distances.argmin(dim=1).numpy() for _, distances in _distance_blocks(features, centres)]
    )
    return index
