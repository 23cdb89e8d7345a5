"""Distances between sets of images, as functions of their features.

Knows: the formulas and how many samples each needs. Does not know: images, classifiers, protocols.
Features are float32 (n, d) arrays; `real` is the reference set, `fake` the one that is judged.
Every function raises MetricError, in words, where it would otherwise give a number without meaning.
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


class Spread(NamedTuple):
    """A mean over parts of the sample, and the standard deviation between them."""

    mean: float
    sd: float


def frechet_distance(real: Features, fake: Features) -> float:
    """Squared Fréchet distance between Gaussians fitted to both (arXiv 1706.08500, equation 6).

    |m_r - m_f|^2 + Tr(C_r + C_f - 2 (C_r C_f)^(1/2)). Biased upwards by small samples: compare it at
    one sample size only. Needs more samples than features, or the covariances are singular.
    """
    _check("the Fréchet distance", real, fake, at_least=real.shape[1] + 1)
    a, b = real.astype(np.float64), fake.astype(np.float64)
    difference = a.mean(axis=0) - b.mean(axis=0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cov_a, cov_b = np.atleast_2d(cov_a), np.atleast_2d(cov_b)
    # Tr (C_r C_f)^(1/2) by way of the symmetric matrix with the same eigenvalues.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2.0 * shared)


def kernel_distance(real: Features, fake: Features, subsets: int = 100, size: int = 1000, seed: int = 0) -> Spread:
    """KID: unbiased squared MMD with the kernel (x.y / d + 1)^3 (arXiv 1801.01401, section 4).

    The mean over random subsets of `size` from each side; it can be slightly below zero.
    """
    _check("KID", real, fake, at_least=size)
    random = np.random.RandomState(seed)
    found = np.empty(subsets)
    for k in range(subsets):
        x = fake[random.choice(len(fake), size, replace=False)].astype(np.float64)
        y = real[random.choice(len(real), size, replace=False)].astype(np.float64)
        xx, yy, xy = _cubic(x, x), _cubic(y, y), _cubic(x, y)
        within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (size * (size - 1))
        found[k] = within - 2.0 * xy.mean()
    return Spread(float(found.mean()), float(found.std()))


def precision_recall(real: Features, fake: Features, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (arXiv 1904.06991, equations 1 and 2), each 0 .. 1.

    Precision: the share of `fake` inside the balls that reach from each real sample to its k-th
    nearest real neighbour. Recall: the same with the roles exchanged.
    """
    _check("precision and recall", real, fake, at_least=k + 1)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    in_real, in_fake = 0, np.zeros(len(real), bool)
    for start, distances in _distances(fake, real):
        in_real += int((distances <= real_radii).any(dim=1).sum())
        radii = fake_radii[start : start + len(distances), None]
        in_fake |= (distances <= radii).any(dim=0).numpy()
    return in_real / len(fake), float(in_fake.mean())


def density_coverage(real: Features, fake: Features, k: int = 5) -> tuple[float, float]:
    """Density and coverage (arXiv 2002.09797, equations 4 and 5).

    Density: how many real balls hold a fake sample, over k; about 1 for a perfect generator, and it
    can be above. Coverage, 0 .. 1: the share of real balls that hold any fake sample.
    """
    _check("density and coverage", real, fake, at_least=k + 1)
    radii = _radii(real, k)
    held, covered = 0, np.zeros(len(real), bool)
    for _, distances in _distances(fake, real):
        inside = distances < radii
        held += int(inside.sum())
        covered |= inside.any(dim=0).numpy()
    return held / (k * len(fake)), float(covered.mean())


def inception_score(probabilities: Features, splits: int = 10) -> Spread:
    """exp(E KL(p(y|x) || p(y))) (arXiv 1606.03498, section 4), from 1 to the number of classes.

    Args: probabilities, (n, classes), rows sum to 1; the mean is over `splits` equal parts.
    """
    _check("the Inception Score", probabilities, at_least=10 * splits)
    p = probabilities.astype(np.float64)
    scores = []
    for part in np.array_split(p, splits):
        ratio = np.log(part.clip(1e-300)) - np.log(part.mean(axis=0, keepdims=True).clip(1e-300))
        scores.append(np.exp((part * ratio).sum(axis=1).mean()))
    return Spread(float(np.mean(scores)), float(np.std(scores)))


def different_bins(real: Features, fake: Features, bins: int = 100, seed: int = 0) -> float:
    """NDB / K: the share of bins whose share of samples differs significantly (arXiv 1805.12462, section 2).

    The bins are the cells of k-means on `real`. Two samples of one distribution differ in about 0.05
    of the bins; a collapsed generator in most.
    """
    _check("NDB", real, fake, at_least=LEAST_PER_BIN * bins)
    centres = _kmeans(real, bins, seed)
    p, q = (np.bincount(_nearest_centre(x, centres), minlength=bins) / len(x) for x in (real, fake))
    pooled = (p * len(real) + q * len(fake)) / (len(real) + len(fake))
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(real) + 1 / len(fake)))
    return float((np.abs(p - q) > Z_DIFFERENT * error).mean())


class Neighbours(NamedTuple):
    """The nearest of another set.

    Attributes:
        distance: Euclidean distance to the nearest, float32 (n,); exact, so 0 for a copy.
        row: where that is in the other set, int64 (n,).
        around: mean distance to the `k` nearest, float32 (n,).
    """

    distance: NDArray[np.float32]
    row: NDArray[np.int64]
    around: NDArray[np.float32]

    def copies(self, share: float = 0.5) -> NDArray[np.bool_]:
        """Near-copies: much closer to one sample than to those around it (arXiv 2301.13188, section 5.1)."""
        return self.distance <= share * self.around


def nearest(queries: Features, pool: Features, k: int = 50) -> Neighbours:
    """The nearest sample of `pool` for each query, both (n, d) and (m, d), m above k."""
    _check("nearest neighbours", pool, at_least=k + 1)
    _check("nearest neighbours", queries, at_least=1)
    distance, around = np.empty(len(queries), np.float32), np.empty(len(queries), np.float32)
    row = np.empty(len(queries), np.int64)
    for start, distances in _distances(queries, pool):
        values, indices = distances.topk(k, dim=1, largest=False)
        rows = slice(start, start + len(distances))
        row[rows] = indices[:, 0].numpy()
        # The matrix of distances comes from x^2 - 2xy + y^2, which rounds badly near zero.
        distance[rows] = np.linalg.norm(queries[rows] - pool[row[rows]], axis=1)
        around[rows] = values.mean(dim=1).numpy()
    return Neighbours(distance, row, around)


def modes_kept(points: Features, centres: Features, sd: float) -> tuple[int, float]:
    """How many modes of a mixture of Gaussians a generator still makes.

    Args: points, (n, d); centres, (modes, d); sd, of every mode.
    Returns: the modes that get at least a quarter of their equal share, and the share of points
    within 4 sd of a mode (after arXiv 1705.07761, section 4, which uses 3 sd).
    """
    _check("the mode count", points, at_least=100 * len(centres))
    distances = np.linalg.norm(points[:, None] - centres[None], axis=2)
    good = distances.min(axis=1) <= 4 * sd
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=len(centres))
    return int((counts >= len(points) / (4 * len(centres))).sum()), float(good.mean())


def _check(what: str, *sets: Features, at_least: int) -> None:
    for features in sets:
        if len(features) < at_least:
            raise MetricError(f"{what} needs at least {at_least:,} images a side, there are {len(features):,}")
        if not np.isfinite(features).all():
            raise MetricError(f"{what} cannot be measured: some features are not finite numbers")


def _cubic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel: NDArray[np.float64] = (x @ y.T / x.shape[1] + 1.0) ** 3
    return kernel


def _distances(a: Features, b: Features) -> Iterator[tuple[int, torch.Tensor]]:
    """Rows of the matrix of Euclidean distances, in blocks: the first row's number, float32 (rows, len(b))."""
    rows = max(1, BLOCK_VALUES // len(b))
    tail = torch.from_numpy(b)
    for start in range(0, len(a), rows):
        block = torch.from_numpy(a[start : start + rows])
        yield start, torch.cdist(block, tail, compute_mode="use_mm_for_euclid_dist")


def _radii(features: Features, k: int) -> torch.Tensor:
    """Distance of each sample to its k-th nearest other one."""
    # The nearest one found is the sample itself.
    blocks = [distances.kthvalue(k + 1, dim=1).values for _, distances in _distances(features, features)]
    return torch.cat(blocks)


def _kmeans(features: Features, count: int, seed: int) -> Features:
    """Lloyd's algorithm from random samples; an empty cell keeps its centre."""
    centres: Features = features[np.random.RandomState(seed).choice(len(features), count, replace=False)].copy()
    for _ in range(KMEANS_STEPS):
        cell = _nearest_centre(features, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, cell, features)
        sizes = np.bincount(cell, minlength=count)
        centres[sizes > 0] = sums[sizes > 0] / sizes[sizes > 0, None]
    return centres


def _nearest_centre(features: Features, centres: Features) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.concatenate([d.argmin(dim=1).numpy() for _, d in _distances(features, centres)])
    return found
