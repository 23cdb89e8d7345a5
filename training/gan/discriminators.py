"""Discriminators.

Knows: the networks that tell real from generated images, and what they say. Does not know: losses,
data, files.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dcgan import DCGANDiscriminator
from models.networks import (
    DCGANConfig,
    DiscriminatorConfig,
    MLPConfig,
    ResNetDiscriminatorConfig,
    blocks,
    conv,
    linear,
    mlp,
)


class DiscriminatorOutput(NamedTuple):
    """What a discriminator says of images.

    Attributes:
        logit: float (N,), unbounded; only differences mean anything under the relativistic loss.
        codes: float (N, codes), its guess of the latents' first entries.
    """

    logit: Tensor
    codes: Tensor


class Down(nn.Module):
    """2x2 mean, then a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.mix = conv(c_in, c_out, 1, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mix(F.avg_pool2d(x, 2))
        return out


def pyramid(channels: int, network: ResNetDiscriminatorConfig) -> list[nn.Module]:
    """From an image to the features of its lowest resolution, (N, widths[0], base, base)."""
    widths = network.widths[::-1]
    layers: list[nn.Module] = [conv(channels, widths[0], 1, 1.0)]
    for level, width in enumerate(widths):
        if level:
            layers.append(Down(widths[level - 1], width))
        layers += blocks(width, network)
    return layers


class MinibatchStd(nn.Module):
    """Appends a channel: how much the images of a group differ (Karras et al., arXiv 1710.10196, section 3).

    The standard deviation over the group, averaged over channels and places. Groups are images in a
    row, so that they are the same however a batch is spread over processes.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        variance = x.float().reshape(-1, self.group, channels, height, width).var(dim=1, unbiased=False)
        # The root's slope at 0 is infinite.
        spread = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat_interleave(self.group)
        return torch.cat([x, spread.to(x.dtype).reshape(count, 1, 1, 1).expand(-1, -1, height, width)], dim=1)


class ResNetDiscriminator(nn.Module):
    """(image, label) -> DiscriminatorOutput; the logit by projection (Miyato and Koyama, arXiv 1802.05637)."""

    def __init__(self, config: DiscriminatorConfig, network: ResNetDiscriminatorConfig) -> None:
        super().__init__()
        self.conditional = config.labels > 0
        self.labels = max(config.labels, 1)
        self.into, *layers = pyramid(config.shape[0], network)
        features = network.widths[0]
        if network.minibatch_group > 1:
            layers.append(MinibatchStd(network.minibatch_group))
            features += 1
        self.layers = nn.Sequential(*layers)
        self.basis = nn.Parameter(torch.randn(1, features, network.base, network.base) / network.base)
        self.head = linear(features, network.label_dim if self.conditional else 1)
        self.guess = linear(features, config.codes) if config.codes else None
        self.embed = linear(self.labels, network.label_dim, math.sqrt(self.labels))

    def forward(self, image: Tensor, label: Tensor) -> DiscriminatorOutput:
        # As a depthwise convolution this would be slow: its double backward loops over the channels.
        features = (self.layers(self.into(image)) * self.basis).sum(dim=(2, 3))
        h = self.head(features)
        if self.conditional:
            c = self.embed(F.one_hot(label, self.labels).to(h.dtype))
            h = (h * c).sum(dim=1, keepdim=True, dtype=torch.float32) / math.sqrt(c.shape[1])
        return DiscriminatorOutput(h.squeeze(1), self.guess(features) if self.guess is not None else features[:, :0])


class MLPDiscriminator(nn.Module):
    def __init__(self, config: DiscriminatorConfig, network: MLPConfig) -> None:
        super().__init__()
        self.labels = config.labels
        self.body = mlp(math.prod(config.shape) + config.labels, 1 + config.codes, network)

    def forward(self, image: Tensor, label: Tensor) -> DiscriminatorOutput:
        h = image.flatten(1)
        if self.labels > 0:
            h = torch.cat([h, F.one_hot(label, self.labels).to(h.dtype)], dim=1)
        out = self.body(h)
        return DiscriminatorOutput(out[:, 0], out[:, 1:])


class DCGANBaseline(nn.Module):
    """models.dcgan's discriminator as a DiscriminatorOutput."""

    def __init__(self, config: DiscriminatorConfig, network: DCGANConfig) -> None:
        super().__init__()
        self.body = DCGANDiscriminator(config.codes, config.labels, config.shape[0], network.base, network.widths)

    def forward(self, image: Tensor, label: Tensor) -> DiscriminatorOutput:
        out = self.body(image, label)
        return DiscriminatorOutput(out[:, 0], out[:, 1:])


def discriminator(config: DiscriminatorConfig) -> nn.Module:
    """A freshly initialised discriminator.

    Its forward takes images, float32 (N, C, H, W), and label, int64 (N,), and returns a DiscriminatorOutput.
    """
    match config.network:
        case ResNetDiscriminatorConfig() as network:
            return ResNetDiscriminator(config, network)
        case DCGANConfig() as network:
            return DCGANBaseline(config, network)
        case network:
            return MLPDiscriminator(config, network)
