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
    images: Tensor, p: float, random: RandomState, team: ProcessGroup = SINGLE, colour_share: float = 1.0
) -> Tensor:
    """Transform each image independently.

    Args:
        images: float (N, C, H, W), C 1 or 3.
        p: the probability of each transformation, 0 .. 1; nothing is drawn or done at 0.
        random: for the batch of all processes.
        team: which rows of that batch the images are.
        colour_share: probability of colour's transformations, as a share of p.
    Returns: float (N, C, H, W).
    """
    if p <= 0:
        return images
    batch = len(images) * team.size
    rows, draw = team.rows(batch), _Draws(batch, random)
    geometry = _geometry(images.shape[2], images.shape[3], p, draw)[rows]
    colour = _colour(images.shape[1], p * colour_share, draw)[rows]
    return recolour(warp(images, _like(geometry, images)), _like(colour, images))


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Sample each image at transformed places, bilinearly, mirrored at the borders.

    Args:
        images: float (N, C, H, W).
        matrices: float (N, 3, 3); they take an output pixel's (x, y, 1), counted from the image's
            centre in pixels, to the place where the input is looked up.
    """
    count, channels, height, width = images.shape
    y, x = torch.meshgrid(_centred(height, images), _centred(width, images), indexing="ij")
    places = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    looked_up = matrices @ places
    columns, right = _split(_mirrored(looked_up[:, 0] + (width - 1) / 2, width), width)
    rows, below = _split(_mirrored(looked_up[:, 1] + (height - 1) / 2, height), height)
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
    """Map each image's colours.

    Args:
        images: float (N, C, H, W).
        matrices: float (N, C, C + 1), the last column an offset.
    """
    mixed: Tensor = matrices[:, :, :-1] @ images.flatten(2) + matrices[:, :, -1:]
    return mixed.reshape(images.shape)


def _like(matrices: Matrices, images: Tensor) -> Tensor:
    return torch.from_numpy(matrices.astype(np.float32)).to(images)


def _centred(size: int, images: Tensor) -> Tensor:
    return torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Places folded into 0 .. size - 1 by mirrors at the border pixels."""
    period = max(2 * (size - 1), 1)
    folded = places.remainder(period)
    return torch.minimum(folded, period - folded).clamp(0, size - 1)


def _split(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    whole = places.floor().clamp(max=size - 1)
    return whole.long(), places - whole


class _Draws:
    """Numbers for N images, each kept only with probability p, else 0."""

    def __init__(self, count: int, random: RandomState) -> None:
        self._count, self._random = count, random

    def normal(self, p: float, sd: float) -> NDArray[np.float64]:
        return self._kept(p, self._random.standard_normal(self._count) * sd)

    def uniform(self, p: float, low: float, high: float) -> NDArray[np.float64]:
        return self._kept(p, self._random.uniform(low, high, self._count))

    def integer(self, p: float, below: int) -> NDArray[np.float64]:
        return self._kept(p, self._random.randint(0, below, self._count).astype(np.float64))

    def _kept(self, p: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(self._random.random_sample(self._count) < p, values, 0.0)


def _geometry(height: int, width: int, p: float, draw: _Draws) -> Matrices:
    """From output to input places: the product of the paper's inverse transformations, (N, 3, 3)."""
    # Two turns, before and after stretching, together are to happen with probability p.
    turn = 1.0 - math.sqrt(1.0 - p)
    steps = (
        _scale(1.0 - 2.0 * draw.integer(p, 2), 1.0),
        _rotate(draw.integer(p, 4) * (math.pi / 2)),
        _shift((draw.uniform(p, -0.125, 0.125) * width).round(), (draw.uniform(p, -0.125, 0.125) * height).round()),
        _scale(*[np.exp2(draw.normal(p, 0.2))] * 2),
        _rotate(draw.uniform(turn, -math.pi, math.pi)),
        _stretch(np.exp2(draw.normal(p, 0.2))),
        _rotate(draw.uniform(turn, -math.pi, math.pi)),
        _shift(draw.normal(p, 0.125) * width, draw.normal(p, 0.125) * height),
    )
    return functools.reduce(np.matmul, steps)


def _scale(x: NDArray[np.float64] | float, y: NDArray[np.float64] | float) -> Matrices:
    matrices = _identity(max(np.size(x), np.size(y)), 3)
    matrices[:, 0, 0], matrices[:, 1, 1] = x, y
    return matrices


def _stretch(factor: NDArray[np.float64]) -> Matrices:
    return _scale(factor, 1.0 / factor)


def _shift(x: NDArray[np.float64], y: NDArray[np.float64]) -> Matrices:
    matrices = _identity(len(x), 3)
    matrices[:, 0, 2], matrices[:, 1, 2] = x, y
    return matrices


def _rotate(angle: NDArray[np.float64]) -> Matrices:
    matrices = _identity(len(angle), 3)
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0] = np.sin(angle)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


def _identity(count: int, size: int) -> Matrices:
    return np.tile(np.eye(size), (count, 1, 1))


def _colour(channels: int, p: float, draw: _Draws) -> Matrices:
    """Brightness and contrast, and for RGB luma flip, hue and saturation: (N, C, C + 1)."""
    brightness, contrast = draw.normal(p, 0.2), np.exp2(draw.normal(p, 0.5))
    linear = _column(contrast) * np.eye(channels)
    if channels == 3:
        linear = _about_grey(draw, p) @ linear
    return np.concatenate([linear, linear @ (_column(brightness) * np.ones((channels, 1)))], axis=2)


def _about_grey(draw: _Draws, p: float) -> Matrices:
    """What keeps or mirrors greys: luma flip, a turn of hue, saturation; (N, 3, 3)."""
    grey = np.full((3, 1), 3**-0.5)
    along = grey @ grey.T
    across = np.eye(3) - along
    flip = _column(1.0 - 2.0 * draw.integer(p, 2))
    hue, saturation = draw.uniform(p, -math.pi, math.pi), _column(np.exp2(draw.normal(p, 1.0)))
    # Rodrigues' formula for a turn about the axis of greys.
    axis = np.cross(np.eye(3), grey.ravel())
    turned = _column(np.cos(hue)) * across + _column(np.sin(hue)) * axis
    mixing: Matrices = flip * along + saturation * turned
    return mixing


def _column(values: NDArray[np.float64]) -> Matrices:
    return np.reshape(values, (-1, 1, 1))
