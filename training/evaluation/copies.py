"""Finds images that copy a training image: as it is, mirrored, shifted, or with another brightness or contrast.

Not here: copies that only features show (training.evaluation.memorisation).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import MetricError
from training.evaluation.classifier import Images
from training.evaluation.metrics import Neighbours
from training.parallel import map_in_threads

# Pixels in each direction by which a copy may be shifted.
MAX_SHIFT = 2
# Each axis of the spectrum that is compared, from 0 to this many waves an image; finer ones are mostly noise.
MAX_WAVES = 12
SMALLEST_SIDE = 2 * MAX_SHIFT + 4
QUERIES_AT_ONCE = 50
POOL_AT_ONCE = 2000
# Below this norm, in levels from 0 to 255, an image or a spectrum has no structure to compare.
FLAT = 1e-3


class CopyFinder:
    """Finds the nearest training images under small changes.

    Two images are compared without their outermost pixels, each with its mean subtracted and divided by its norm, so
    that brightness and contrast do not matter; the distance is the smallest over all shifts of the query and its mirror
    image, from 0 for a copy over 1.41 for unrelated images to 2. Only the `k` training images whose spectrum is nearest
    are compared: its magnitudes do not change under shifts.

    Args:
        pool: the training images, uint8 (m, H, W, C) with m above k.
        k: how many candidates are compared for each orientation, and over how many neighbours the mean is taken.

    Raises:
        MetricError: there are too few training images, or they are too small.
    """

    def __init__(self, pool: Images, k: int) -> None:
        if len(pool) <= k:
            raise MetricError(f"nearest neighbours needs at least {k + 1:,} training images, there are {len(pool):,}")
        if min(pool.shape[1:3]) < SMALLEST_SIDE:
            raise MetricError(
                f"near-copies are looked for in images of at least {SMALLEST_SIDE}x{SMALLEST_SIDE} pixels"
            )
        self._windows = _window(pool, MAX_SHIFT, MAX_SHIFT)
        self._k = k
        starts = range(0, len(pool), POOL_AT_ONCE)
        self._spectra = torch.cat(map_in_threads(lambda s: _spectrum(pool[s : s + POOL_AT_ONCE]), starts))

    def search(self, queries: Images) -> Neighbours:
        """Find the nearest training images of uint8 (n, H, W, C)."""
        starts = range(0, len(queries), QUERIES_AT_ONCE)
        parts = map_in_threads(lambda s: self._search(queries[s : s + QUERIES_AT_ONCE]), starts)
        return Neighbours(*(np.concatenate(arrays) for arrays in zip(*parts)))

    def _search(self, queries: Images) -> Neighbours:
        found = [self._compare(oriented) for oriented in (queries, queries[:, :, ::-1])]
        distances = torch.cat([distances for distances, _ in found], dim=1)
        rows = torch.cat([rows for _, rows in found], dim=1)
        nearest, places = distances.topk(self._k, dim=1, largest=False)
        row: NDArray[np.int64] = rows.gather(1, places[:, :1])[:, 0].numpy()
        return Neighbours(nearest[:, 0].numpy(), row, nearest.mean(dim=1).numpy())

    def _compare(self, queries: Images) -> tuple[Tensor, Tensor]:
        """Return the distances to the candidates, float32 (n, k), and their rows in the pool, int64 (n, k)."""
        rows = (_spectrum(queries) @ self._spectra.T).topk(self._k, dim=1).indices
        candidates = _normalise(self._windows[rows.flatten().numpy()]).view(*rows.shape, -1)
        shifts = range(2 * MAX_SHIFT + 1)
        shifted = torch.stack([_normalise(_window(queries, down, across)) for down in shifts for across in shifts], 1)
        similarity = torch.bmm(shifted, candidates.transpose(1, 2))
        # A flat image has norm 0 instead of 1; two of them are copies of each other.
        norms = shifted.square().sum(2).round()[:, :, None] + candidates.square().sum(2).round()[:, None, :]
        squared = (norms - 2 * similarity).amin(dim=1)
        return squared.clamp_min(0).sqrt(), rows


def _window(images: Images, down: int, across: int) -> Images:
    """Return the part that every shift has in common, from the pixel (down, across) on."""
    height, width = images.shape[1] - 2 * MAX_SHIFT, images.shape[2] - 2 * MAX_SHIFT
    return images[:, down : down + height, across : across + width]


def _normalise(images: Images) -> Tensor:
    """Return float32 (n, H * W * C) of mean 0 and norm 1; zeros for a flat image."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).flatten(1).float()
    return _unit(pixels - pixels.mean(dim=1, keepdim=True))


def _spectrum(images: Images) -> Tensor:
    """Return the magnitudes of the low frequencies of grey images without their mean, float32 (n, d) of norm 1.

    The last number says whether an image is flat, so that flat ones are near one another.
    """
    grey = torch.from_numpy(np.ascontiguousarray(images)).float().mean(dim=3)
    waves = torch.fft.rfft2(grey - grey.mean(dim=(1, 2), keepdim=True)).abs()
    most = min(MAX_WAVES, min(grey.shape[1:]) // 2)
    low = torch.cat([waves[:, : most + 1], waves[:, -most:]], dim=1)[:, :, : most + 1]
    spectra = _unit(low.flatten(1))
    is_flat = (spectra == 0).all(dim=1, keepdim=True)
    return torch.cat([spectra, is_flat.float()], dim=1)


def _unit(vectors: Tensor) -> Tensor:
    norms = vectors.norm(dim=1, keepdim=True)
    return torch.where(norms > FLAT, vectors / norms.clamp_min(FLAT), torch.zeros_like(vectors))
