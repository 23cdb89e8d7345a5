"""Traverse the latent space: move one entry of z while all others stay as they are."""

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

# How far an entry moves to either side, in standard deviations.
REACH = 2.5
STEPS = 11
ROWS = 10
GAP_PIXELS = 4


def traverse(latents: NDArray[np.float32], entry: int) -> NDArray[np.float32]:
    """Move one entry of each latent from -REACH to REACH.

    Args:
        latents: float32 (n, z_dim).
        entry: which entry of z moves.
    Returns: float32 (n * STEPS, z_dim); the steps of each latent follow one another.
    """
    z = np.repeat(latents, STEPS, axis=0)
    z[:, entry] = np.tile(np.linspace(-REACH, REACH, STEPS, dtype=np.float32), len(latents))
    return z


def write_code_traversals(generator: nn.Module, z_dim: int, num_classes: int, codes: int, path: Path) -> None:
    """Write a PNG with a block of rows for each of the first `codes` entries of z, one block below the other.

    Within a block, each row shows one latent of seed 0 while the entry moves from -REACH to REACH. Labels
    cycle through the classes row by row.
    """
    blocks = [images.grid(render_traversal(generator, z_dim, num_classes, entry), STEPS) for entry in range(codes)]
    gap = np.full((GAP_PIXELS, *blocks[0].shape[1:]), 255, np.uint8)
    pixels = np.concatenate([part for block in blocks for part in (block, gap)][:-1])
    write_atomically(path, images.encode(pixels, "image/png"))


def render_traversal(generator: nn.Module, z_dim: int, num_classes: int, entry: int) -> NDArray[np.uint8]:
    """Render one traversal of ROWS latents: uint8 (ROWS * STEPS, H, W, C), row by row."""
    device = next(generator.parameters()).device
    latents = np.stack([draw_latent(0, index, z_dim) for index in range(ROWS)])
    z = torch.from_numpy(traverse(latents, entry))
    labels = (torch.arange(ROWS) % max(num_classes, 1)).repeat_interleave(STEPS)
    class_weights = one_hot(labels, num_classes)
    with torch.no_grad():
        return to_uint8(generator(z.to(device), class_weights.to(device))).cpu().numpy()
