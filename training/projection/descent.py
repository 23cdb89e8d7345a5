"""Find the latent of a model whose image is nearest to a picture, by descent.

As the projectors of the StyleGAN papers (Karras et al., arXiv 1912.04958, section 5), but in z, so that the result has
an address.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.address import Address
from models.sampler import Sampler
from training.progress import ProgressCallback, ignore_progress
from training.projection.distance import PictureDistance

# Random addresses that the result is compared with; the nearest of them are where the descents start.
OTHERS = 256
STARTS = 8
RATE = 0.1
# The length of a drawn latent is about sqrt(z_dim), with a deviation of 0.7.
SPARE_LENGTH = 2.0


class Projection(NamedTuple):
    """The nearest address to a picture.

    Attributes:
        address: its latent is written out.
        pixels: its image, uint8 (H, W, C).
        distance: of its image from the picture.
        other_distances: of the images of random addresses of the model, float32 (OTHERS,).
    """

    address: Address
    pixels: NDArray[np.uint8]
    distance: float
    other_distances: NDArray[np.float32]


def find_nearest(
    sampler: Sampler,
    generator: nn.Module,
    distance: PictureDistance,
    label: int | None = None,
    steps: int = 200,
    progress: ProgressCallback = ignore_progress,
) -> Projection:
    """Find the address whose image is nearest to a picture.

    Args:
        sampler: mints the model's images.
        generator: the same model (`models.networks.load_generator`), frozen, on the sampler's device.
        distance: from the picture.
        label: the class; None to start with the classes of the random addresses that are nearest.
        steps: of descent, at least 1.
        progress: called after each step.
    Raises: InputError naming the field at fault: `labels`, or `address` where the latent is too long for one.
    """
    manifest = sampler.manifest
    others = manifest.addresses(0, n=OTHERS, labels=label)
    # Before the work is done: the text of a latent is as long as that of any other.
    manifest.latent_addresses([np.zeros(manifest.latents.z_dim)], others[0].label)
    other_distances = distance.measure(sampler.mint(others))
    starts = [others[k] for k in np.argsort(other_distances, kind="stable")[:STARTS].tolist()]
    z, class_weights = sampler.draw_inputs(starts)
    device = sampler.device
    found = _descend(
        generator, distance, torch.from_numpy(z).to(device), torch.from_numpy(class_weights).to(device), steps, progress
    )
    # With the starts, so that the result is never worse than they are.
    latents = np.concatenate([z, found])
    labels = [start.label for start in starts if start.label is not None] * 2
    addresses = manifest.latent_addresses(latents, labels or None)
    pixels = sampler.mint(addresses)
    distances = distance.measure(pixels)
    best = int(distances.argmin())
    return Projection(addresses[best], pixels[best], float(distances[best]), other_distances)


def _descend(
    generator: nn.Module,
    distance: PictureDistance,
    starts: Tensor,
    class_weights: Tensor,
    steps: int,
    progress: ProgressCallback,
) -> NDArray[np.float32]:
    """Return where descents from several latents end, float32 (N, z_dim)."""
    z = starts.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    longest = math.sqrt(z.shape[1]) + SPARE_LENGTH
    for step in range(steps):
        images = generator(z, class_weights)
        # Pixels are clipped. The gradient passes, or a pixel that is clipped on the wrong side could not come back.
        clipped = images + (images.clamp(-1.0, 1.0) - images).detach()
        (z.grad,) = torch.autograd.grad(distance(clipped).sum(), z)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            # Latents that are never drawn make images that the model never learned to make.
            z.copy_(torch.renorm(z, 2, 0, longest))
        progress("steps", step + 1, steps)
    ends: NDArray[np.float32] = z.detach().cpu().numpy()
    return ends
