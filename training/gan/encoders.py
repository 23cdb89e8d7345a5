"""Encoders.

Knows: the network that says from which latents an image may have come. Does not know: losses, data,
files.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks import DiscriminatorConfig, ResNetDiscriminatorConfig, linear
from training.gan.discriminators import pyramid


class Posterior(NamedTuple):
    """Independent normal distributions of an image's latents, as a variational autoencoder has them.

    Attributes:
        mean: float32 (N, z_dim).
        log_variance: float32 (N, z_dim).
    """

    mean: Tensor
    log_variance: Tensor


class ResNetEncoder(nn.Module):
    """(image, label) -> Posterior; the discriminator's pyramid, read place by place."""

    def __init__(self, config: DiscriminatorConfig, network: ResNetDiscriminatorConfig, z_dim: int) -> None:
        super().__init__()
        self.labels = config.labels
        self.layers = nn.Sequential(*pyramid(config.shape[0], network))
        self.head = linear(network.widths[0] * network.base**2 + config.labels, 2 * z_dim, 0.3)
        self.bias = nn.Parameter(torch.zeros(2 * z_dim))

    def forward(self, image: Tensor, label: Tensor) -> Posterior:
        features = self.layers(image).flatten(1)
        if self.labels:
            features = torch.cat([features, F.one_hot(label, self.labels).to(features.dtype)], dim=1)
        mean, log_variance = (self.head(features) + self.bias).float().chunk(2, dim=1)
        # From a hundredth to some seven times the prior's width: a run's first steps go far.
        return Posterior(mean, log_variance.clamp(-10, 4))
