"""The picture that every tick leaves: what the averaged generator makes of a fixed set of latents.

Knows: which latents, and how toy data is drawn. Does not know: training, encoding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models import images
from models.files import write_atomically
from models.latents import draw_latent
from models.runtime.torchscript import to_uint8
from training.data.dataset import Dataset

TOY_POINTS, TOY_SIDE = 4096, 128


def snapshot(generator: nn.Module, dataset: Dataset, z_dim: int, path: Path) -> None:
    """Write a PNG: a grid with one class per column where there are few, or a density plot of toy data."""
    is_toy = dataset.images.dtype != np.uint8
    columns = images.class_grid_columns(dataset.num_classes)
    samples = generate(generator, z_dim, len(dataset.class_names), TOY_POINTS if is_toy else columns * images.GRID_ROWS)
    if is_toy:
        pixels = density(
            samples.reshape(len(samples), -1).numpy(), dataset.images.reshape(len(dataset), -1).astype(np.float32)
        )
    else:
        pixels = images.grid(to_uint8(samples).cpu().numpy(), columns)
    write_atomically(path, images.encode(pixels, "image/png", "training snapshot"))


def generate(generator: nn.Module, z_dim: int, labels: int, count: int) -> torch.Tensor:
    """The first `count` samples of seed 0 with labels in turn: float32 (count, C, H, W) on the CPU."""
    device = next(generator.parameters()).device
    z = torch.from_numpy(np.stack([draw_latent(0, index, z_dim) for index in range(count)]))
    label = torch.arange(count) % max(labels, 1)
    with torch.no_grad():
        parts = [
            generator(a.to(device), b.to(device)).cpu() for a, b in zip(torch.split(z, 64), torch.split(label, 64))
        ]
    return torch.cat(parts)


def density(points: NDArray[np.float32], real: NDArray[np.float32]) -> NDArray[np.uint8]:
    """White where no point falls, darker where many do, over the real data's range; real data above."""
    low, high = real.min(axis=0), real.max(axis=0)
    panels = []
    for cloud in (real[: len(points)], points):
        if cloud.shape[1] == 1:
            counts, _ = np.histogram(cloud[:, 0], TOY_SIDE, (low[0], high[0]))
            heights = (counts / max(counts.max(), 1) * TOY_SIDE).astype(int)
            density = (np.arange(TOY_SIDE)[::-1, None] < heights[None, :]).astype(float)
        else:
            ranges = [(low[0], high[0]), (low[1], high[1])]
            density = np.histogram2d(cloud[:, 1], cloud[:, 0], TOY_SIDE, ranges)[0]
            density = np.minimum(density * 0.5, 1.0)
        panels.append((255 - 255 * density).astype(np.uint8))
    return np.concatenate(panels)[..., None]
