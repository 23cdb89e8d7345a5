"""Fit a learned prior: latents that are drawn become like those that the encoder reads from real images.

Flow matching (Lipman et al., arXiv 2210.02747) along the trigonometric path between a drawn and an encoded latent
(Albergo and Vanden-Eijnden, arXiv 2209.15571, section 4), on which nothing moves where the two are distributed alike
and normally. The generator and the encoder stay as they are.
Not here: the network (models.networks.LearnedPrior).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.latents import MAX_INTEGER
from models.network_config import PriorConfig
from models.networks import LearnedPrior, one_hot
from training.data.dataset import Dataset
from training.data_config import DataConfig
from training.gan import value_embedding
from training.gan.encoders import Posterior
from training.gan.vae_gan import reparameterize
from training.rng import PRIOR, stream

BATCH = 512
STEPS = 6000
LEARNING_RATE = 2e-3
# The average of the weights over the last steps, as a half-life in steps.
EMA_HALFLIFE = 200
ENCODE_BATCH = 256


class EncodedImages(NamedTuple):
    """What the encoder reads from the training images, on the CPU.

    Attributes:
        posterior: float32 (n, z_dim) each.
        labels: int64 (n,); 0 without classes.
        shares: how often each image is shown, float64 (n,); the sum is 1.
    """

    posterior: Posterior
    labels: Tensor
    shares: NDArray[np.float64]


@torch.no_grad()
def encode_images(
    encoder: nn.Module, dataset: Dataset, device: torch.device, data: DataConfig, progress: Callable[[int, int], None]
) -> EncodedImages:
    """Read every training image, and its mirror image where `data.mirror` is on.

    Args: progress, called with the number of images that were read and of all.
    """
    parts = []
    for flip in (False, True) if data.mirror else (False,):
        for start in range(0, len(dataset), ENCODE_BATCH):
            images, labels = dataset.batch(np.arange(start, min(start + ENCODE_BATCH, len(dataset))))
            images = np.ascontiguousarray(images[..., ::-1]) if flip else images
            classes = torch.from_numpy(labels)
            mean, log_variance = encoder(torch.from_numpy(images).to(device), classes.to(device))
            parts.append((mean.cpu(), log_variance.cpu(), classes))
            progress(start + len(labels), len(dataset))
    means, log_variances, labels_ = (torch.cat(column) for column in zip(*parts))
    counts = np.bincount(labels_.numpy()).astype(np.float64)
    weights = counts[labels_.numpy()] ** (data.class_sampling_power - 1)
    return EncodedImages(Posterior(means, log_variances), labels_, weights / weights.sum())


def fit_prior(
    config: PriorConfig,
    encoded: EncodedImages,
    num_classes: int,
    latent_std: float,
    seed: int,
    progress: Callable[[int, int], None],
    has_continuous_label: bool = False,
) -> LearnedPrior:
    """Return a prior whose latents are distributed as those that the encoder reads from images of each class.

    Args:
        config: of the prior's network.
        encoded: the training images.
        num_classes: 0 for data without labels.
        latent_std: the spread of the latents in training; the prior's have it, too.
        seed: of the run; the same arguments give the same prior.
        progress: called with the steps that are done and all steps.
        has_continuous_label: whether the classes are the values of a scale.
    """
    posterior, labels, shares = encoded
    z_dim = posterior.mean.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % (MAX_INTEGER + 1))
        prior = LearnedPrior(z_dim, num_classes, config)
    if has_continuous_label:
        value_embedding.fix(prior)
    averages = [weight.detach().clone() for weight in prior.parameters()]
    optimizer = torch.optim.Adam(prior.parameters(), lr=LEARNING_RATE)
    cumulative = np.cumsum(shares)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.5 * LEARNING_RATE * (1 + math.cos(math.pi * step / STEPS))
        random = stream(seed, PRIOR, step)
        rows = torch.from_numpy(np.searchsorted(cumulative, random.random_sample(BATCH) * cumulative[-1]))
        noise = random.standard_normal((2, BATCH, z_dim)).astype(np.float32)
        drawn, normal = torch.from_numpy(noise)
        target = latent_std * reparameterize(Posterior(*(part[rows] for part in posterior)), normal)
        times = torch.from_numpy(random.randint(0, config.steps, BATCH))
        loss = flow_matching_loss(prior, drawn, target, one_hot(labels[rows], num_classes), times)
        optimizer.zero_grad()
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _update_averages(averages, prior, 0.5 ** (1 / EMA_HALFLIFE))
        progress(step + 1, STEPS)
    with torch.no_grad():
        for weight, average in zip(prior.parameters(), averages):
            weight.copy_(average)
    return prior.eval()


def flow_matching_loss(
    prior: LearnedPrior, drawn: Tensor, target: Tensor, class_weights: Tensor, times: Tensor
) -> Tensor:
    """Return the mean squared distance of the prior's velocities from the path's, float (N,).

    Args:
        prior: with its velocity network.
        drawn, target: the ends of each path, float (N, z_dim).
        class_weights: float (N, num_classes).
        times: how many of the prior's steps are behind, int64 (N,).
    """
    angle = (times / prior.steps * (math.pi / 2)).unsqueeze(1)
    place = angle.cos() * drawn + angle.sin() * target
    velocity = (math.pi / 2) * (angle.cos() * target - angle.sin() * drawn)
    return (prior.velocity(place, class_weights, prior.time[times]) - velocity).square().mean(1)


@torch.no_grad()
def _update_averages(averages: list[Tensor], network: nn.Module, decay: float) -> None:
    for average, weight in zip(averages, network.parameters()):
        average.lerp_(weight, 1 - decay)
