"""What single entries of z do: one image across a row while one entry moves.

Knows: which latents and how far. Does not know: training, what an entry stands for.
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

# In standard deviations.
REACH = 2.5
COLUMNS, ROWS = 11, 10


def strips(generator: nn.Module, z_dim: int, labels: int, entries: int, path: Path) -> None:
    """Write a PNG: below each other, a block of rows for each of the first entries of z.

    Within a block, each row is one latent of seed 0 with a label of its own, and the entry moves from
    -REACH to REACH.
    """
    blocks = [images.grid(traversed(generator, z_dim, labels, entry), COLUMNS) for entry in range(entries)]
    gap = np.full((4, *blocks[0].shape[1:]), 255, np.uint8)
    picture = np.concatenate([part for block in blocks for part in (block, gap)][:-1])
    write_atomically(path, images.encode(picture, "image/png", "training snapshot"))


def traversed(generator: nn.Module, z_dim: int, labels: int, entry: int) -> NDArray[np.uint8]:
    """uint8 (ROWS * COLUMNS, H, W, C), row by row."""
    device = next(generator.parameters()).device
    rows = np.stack([draw_latent(0, index, z_dim) for index in range(ROWS)])
    z = torch.from_numpy(np.repeat(rows, COLUMNS, axis=0))
    z[:, entry] = torch.linspace(-REACH, REACH, COLUMNS).repeat(ROWS)
    label = (torch.arange(ROWS) % max(labels, 1)).repeat_interleave(COLUMNS)
    with torch.no_grad():
        return to_uint8(generator(z.to(device), label.to(device))).cpu().numpy()
