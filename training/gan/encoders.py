"""The encoder: infers from which latents an image may have come."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network_config import scale_base
from models.networks import linear
from training.discriminator_config import DiscriminatorConfig, ResNetDiscriminatorConfig
from training.gan.discriminators import pyramid


class Posterior(NamedTuple):
    """Independent normal distributions of an image's latents, as in a variational autoencoder.

    Attributes:
        mean: float32 (N, z_dim).
        log_variance: float32 (N, z_dim).
    """

    mean: Tensor
    log_variance: Tensor


class ResNetEncoder(nn.Module):
    """(image, label) -> Posterior; the discriminator's layers, with a head for each pixel of the lowest resolution."""

    def __init__(self, config: DiscriminatorConfig, network: ResNetDiscriminatorConfig, z_dim: int) -> None:
        super().__init__()
        self.num_classes = config.num_classes
        self.layers = nn.Sequential(*pyramid(config.shape[0], network))
        features = network.widths[0] * math.prod(scale_base(network.base))
        self.head = linear(features + config.num_classes, 2 * z_dim, 0.3)
        self.bias = nn.Parameter(torch.zeros(2 * z_dim))

    def forward(self, image: Tensor, label: Tensor) -> Posterior:
        features = self.layers(image).flatten(1)
        if self.num_classes:
            features = torch.cat([features, F.one_hot(label, self.num_classes).to(features.dtype)], dim=1)
        mean, log_variance = (self.head(features) + self.bias).float().chunk(2, dim=1)
        # Standard deviations from 0.007 to 7.4: without limits a run's first steps diverge.
        return Posterior(mean, log_variance.clamp(-10, 4))


def build_encoder(config: DiscriminatorConfig, z_dim: int) -> nn.Module:
    """Return a freshly initialised encoder with the layers of this discriminator, of kind resnet."""
    assert isinstance(config.network, ResNetDiscriminatorConfig)
    return ResNetEncoder(config, config.network, z_dim)
