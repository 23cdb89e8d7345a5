"""Write the grid of every tick: what the averaged generator makes of a fixed set of latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models import images
from models.files import write_atomically
from models.latents import draw_latent
from models.networks import one_hot
from models.runtime.torchscript import to_uint8
from training.data.dataset import Dataset
from training.data.toys import as_points

TOY_POINTS = 4096
TOY_PIXELS = 128
BATCH = 64


def generate_shown(generator: nn.Module, dataset: Dataset, z_dim: int) -> torch.Tensor:
    """Generate what is shown of a tick: images for a grid, or TOY_POINTS points.

    Returns: float32 (count, C, H, W) on the CPU.
    """
    columns = images.class_grid_columns(dataset.num_classes)
    count = columns * images.GRID_ROWS if dataset.has_images else TOY_POINTS
    return generate_samples(generator, z_dim, dataset.num_classes, count)


def write_grid(samples: torch.Tensor, dataset: Dataset, path: Path) -> None:
    """Write a PNG: a grid with one class per column if classes are few, or a density plot of points.

    Args: samples, as from `generate_shown`.
    """
    if dataset.has_images:
        pixels = images.grid(to_uint8(samples).cpu().numpy(), images.class_grid_columns(dataset.num_classes))
    else:
        pixels = plot_density(samples.flatten(1).numpy(), as_points(dataset))
    write_atomically(path, images.encode(pixels, "image/png"))


def generate_samples(generator: nn.Module, z_dim: int, num_classes: int, count: int) -> torch.Tensor:
    """Generate the first `count` samples of seed 0; labels cycle through the classes.

    Returns: float32 (count, C, H, W) on the CPU.
    """
    device = next(generator.parameters()).device
    z = torch.from_numpy(np.stack([draw_latent(0, index, z_dim) for index in range(count)]))
    class_weights = one_hot(torch.arange(count) % max(num_classes, 1), num_classes)
    with torch.no_grad():
        batches = [
            generator(z_batch.to(device), weights_batch.to(device)).cpu()
            for z_batch, weights_batch in zip(torch.split(z, BATCH), torch.split(class_weights, BATCH))
        ]
    return torch.cat(batches)


def plot_density(points: NDArray[np.float32], real: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Plot the density of points over the range of the real data: real data above, `points` below.

    Args: points and real, float32 (n, dim), dim 1 or 2.
    Returns: uint8 (2 * TOY_PIXELS, TOY_PIXELS, 1), white where there is no point and darker the more there are.
    """
    low, high = real.min(axis=0), real.max(axis=0)
    panels = []
    for samples in (real[: len(points)], points):
        if samples.shape[1] == 1:
            counts, _ = np.histogram(samples[:, 0], TOY_PIXELS, (low[0], high[0]))
            heights = (counts / max(counts.max(), 1) * TOY_PIXELS).astype(int)
            density = (np.arange(TOY_PIXELS)[::-1, None] < heights[None, :]).astype(float)
        else:
            ranges = [(low[0], high[0]), (low[1], high[1])]
            density = np.histogram2d(samples[:, 1], samples[:, 0], TOY_PIXELS, ranges)[0]
            density = np.minimum(density * 0.5, 1.0)
        panels.append((255 - 255 * density).astype(np.uint8))
    return np.concatenate(panels)[..., None]
