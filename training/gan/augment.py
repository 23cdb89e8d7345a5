"""Augment what D sees, real and generated images alike (Karras et al., arXiv 2006.06676).

The transformations are the paper's pipeline "bgc" (appendix B): pixel blitting, geometry, colour. Images
are sampled bilinearly, where the paper filters with wavelets. All transformations are linear in the
pixels, so gradients pass through them twice, as the R1 and R2 penalties need.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor

from training.distributed import SINGLE, ProcessGroup

Matrices = NDArray[np.float64]


def augment(
    images: Tensor, p: float, rng: RandomState, group: ProcessGroup = SINGLE, colour_share: float = 1.0
) -> Tensor:
    """Transform each image independently.

    Args:
        images: float (N, C, H, W), C 1 or 3.
        p: probability of each transformation, 0 .. 1; at 0 the images are returned as they are.
        rng: generator for the batch of all processes.
        group: decides which rows of that batch the images are.
        colour_share: probability of colour's transformations, as a share of p.
    Returns: float (N, C, H, W).
    """
    if p <= 0:
        return images
    batch = len(images) * group.size
    rows = group.rows(batch)
    parameters = _RandomParameters(batch, rng)
    geometry = _geometry(images.shape[2], images.shape[3], p, parameters)[rows]
    colour = _colour(images.shape[1], p * colour_share, parameters)[rows]
    return recolour(warp(images, _to_tensor(geometry, images)), _to_tensor(colour, images))


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Transform each image geometrically, sampling bilinearly, mirrored at the borders.

    Args:
        images: float (N, C, H, W).
        matrices: float (N, 3, 3); they map an output pixel's (x, y, 1), relative to the image's
            centre in pixels, to the position in the input that is sampled.
    """
    count, channels, height, width = images.shape
    y, x = torch.meshgrid(_centred_positions(height, images), _centred_positions(width, images), indexing="ij")
    positions = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    sampled = matrices @ positions
    columns, right = _split(_mirror(sampled[:, 0] + (width - 1) / 2, width), width)
    rows, below = _split(_mirror(sampled[:, 1] + (height - 1) / 2, height), height)
    flat = images.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column).unsqueeze(1).expand(count, channels, -1)
        return flat.gather(2, index)

    below, right = below.unsqueeze(1), right.unsqueeze(1)
    next_rows, next_columns = (rows + 1).clamp_(max=height - 1), (columns + 1).clamp_(max=width - 1)
    upper = torch.lerp(at(rows, columns), at(rows, next_columns), right)
    lower = torch.lerp(at(next_rows, columns), at(next_rows, next_columns), right)
    return torch.lerp(upper, lower, below).reshape(images.shape)


def recolour(images: Tensor, matrices: Tensor) -> Tensor:
    """Transform each image's colours.

    Args:
        images: float (N, C, H, W).
        matrices: float (N, C, C + 1), the last column an offset.
    """
    mixed: Tensor = matrices[:, :, :-1] @ images.flatten(2) + matrices[:, :, -1:]
    return mixed.reshape(images.shape)


def _to_tensor(matrices: Matrices, images: Tensor) -> Tensor:
    return torch.from_numpy(matrices.astype(np.float32)).to(images)


def _centred_positions(size: int, images: Tensor) -> Tensor:
    return torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2


def _mirror(positions: Tensor, size: int) -> Tensor:
    """Fold positions into 0 .. size - 1 by mirroring at the border pixels."""
    period = max(2 * (size - 1), 1)
    folded = positions.remainder(period)
    return torch.minimum(folded, period - folded).clamp(0, size - 1)


def _split(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    whole = positions.floor().clamp(max=size - 1)
    return whole.long(), positions - whole


class _RandomParameters:
    """Random parameters for N images; each is kept with probability p, else 0."""

    def __init__(self, count: int, rng: RandomState) -> None:
        self._count = count
        self._rng = rng

    def normal(self, p: float, std: float) -> NDArray[np.float64]:
        return self._mask(p, self._rng.standard_normal(self._count) * std)

    def uniform(self, p: float, low: float, high: float) -> NDArray[np.float64]:
        return self._mask(p, self._rng.uniform(low, high, self._count))

    def integer(self, p: float, below: int) -> NDArray[np.float64]:
        return self._mask(p, self._rng.randint(0, below, self._count).astype(np.float64))

    def _mask(self, p: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(self._rng.random_sample(self._count) < p, values, 0.0)


def _geometry(height: int, width: int, p: float, parameters: _RandomParameters) -> Matrices:
    """Return maps from output to input positions: products of the paper's inverse transformations, (N, 3, 3)."""
    # Of the two rotations, before and after stretching, at least one happens with probability p.
    p_rotation = 1.0 - math.sqrt(1.0 - p)
    steps = (
        _scale(1.0 - 2.0 * parameters.integer(p, 2), 1.0),
        _rotate(parameters.integer(p, 4) * (math.pi / 2)),
        _shift(
            (parameters.uniform(p, -0.125, 0.125) * width).round(),
            (parameters.uniform(p, -0.125, 0.125) * height).round(),
        ),
        _scale(*[np.exp2(parameters.normal(p, 0.2))] * 2),
        _rotate(parameters.uniform(p_rotation, -math.pi, math.pi)),
        _stretch(np.exp2(parameters.normal(p, 0.2))),
        _rotate(parameters.uniform(p_rotation, -math.pi, math.pi)),
        _shift(parameters.normal(p, 0.125) * width, parameters.normal(p, 0.125) * height),
    )
    return functools.reduce(np.matmul, steps)


def _scale(x: NDArray[np.float64] | float, y: NDArray[np.float64] | float) -> Matrices:
    matrices = _identity(max(np.size(x), np.size(y)), 3)
    matrices[:, 0, 0] = x
    matrices[:, 1, 1] = y
    return matrices


def _stretch(factor: NDArray[np.float64]) -> Matrices:
    return _scale(factor, 1.0 / factor)


def _shift(x: NDArray[np.float64], y: NDArray[np.float64]) -> Matrices:
    matrices = _identity(len(x), 3)
    matrices[:, 0, 2] = x
    matrices[:, 1, 2] = y
    return matrices


def _rotate(angle: NDArray[np.float64]) -> Matrices:
    matrices = _identity(len(angle), 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0] = np.sin(angle)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


def _identity(count: int, size: int) -> Matrices:
    return np.tile(np.eye(size), (count, 1, 1))


def _colour(channels: int, p: float, parameters: _RandomParameters) -> Matrices:
    """Return matrices for brightness and contrast, and for RGB luma flip, hue and saturation: (N, C, C + 1)."""
    brightness, contrast = parameters.normal(p, 0.2), np.exp2(parameters.normal(p, 0.5))
    linear = _column(contrast) * np.eye(channels)
    if channels == 3:
        linear = _around_grey(parameters, p) @ linear
    return np.concatenate([linear, linear @ (_column(brightness) * np.ones((channels, 1)))], axis=2)


def _around_grey(parameters: _RandomParameters, p: float) -> Matrices:
    """Return matrices for luma flip, hue rotation and saturation, which map greys to greys: (N, 3, 3)."""
    grey = np.full((3, 1), 3**-0.5)
    along = grey @ grey.T
    across = np.eye(3) - along
    flip = _column(1.0 - 2.0 * parameters.integer(p, 2))
    hue, saturation = parameters.uniform(p, -math.pi, math.pi), _column(np.exp2(parameters.normal(p, 1.0)))
    # Rodrigues' formula for a rotation around the axis of greys.
    axis = np.cross(np.eye(3), grey.ravel())
    rotation = _column(np.cos(hue)) * across + _column(np.sin(hue)) * axis
    mixing: Matrices = flip * along + saturation * rotation
    return mixing


def _column(values: NDArray[np.float64]) -> Matrices:
    return np.reshape(values, (-1, 1, 1))
