"""Discriminators: the networks that tell real from generated images."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dcgan import init_dcgan
from models.network_config import DCGANConfig, MLPConfig, scale_base
from models.networks import blocks, conv, linear, mlp
from training.discriminator_config import DiscriminatorConfig, ResNetDiscriminatorConfig


class DiscriminatorOutput(NamedTuple):
    """What a discriminator returns for images.

    Attributes:
        logits: float (N,), unbounded; only differences mean anything under the relativistic loss.
        codes: float (N, infogan_codes), its prediction of the latents' first entries.
    """

    logits: Tensor
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
    """Return layers from an image to its features at the lowest resolution, (N, widths[0], *base)."""
    widths = network.widths[::-1]
    layers: list[nn.Module] = [conv(channels, widths[0], 1, 1.0)]
    for level, width in enumerate(widths):
        if level:
            layers.append(Down(widths[level - 1], width))
        layers += blocks(width, network)
    return layers


class MinibatchStd(nn.Module):
    """Append a channel with a group's standard deviation (Karras et al., arXiv 1710.10196, section 3).

    The standard deviation over the group is averaged over channels and pixels. Groups are consecutive
    images, so they do not depend on the number of processes that share a batch.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        variance = x.float().reshape(-1, self.group, channels, height, width).var(dim=1, unbiased=False)
        # The square root's derivative at 0 is infinite.
        std = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat_interleave(self.group)
        return torch.cat([x, std.to(x.dtype).reshape(count, 1, 1, 1).expand(-1, -1, height, width)], dim=1)


class ResNetDiscriminator(nn.Module):
    """(image, label) -> DiscriminatorOutput; logits by projection (Miyato and Koyama, arXiv 1802.05637)."""

    def __init__(self, config: DiscriminatorConfig, network: ResNetDiscriminatorConfig) -> None:
        super().__init__()
        self.is_conditional = config.num_classes > 0
        self.num_classes = max(config.num_classes, 1)
        self.into, *layers = pyramid(config.shape[0], network)
        features = network.widths[0]
        if network.minibatch_group > 1:
            layers.append(MinibatchStd(network.minibatch_group))
            features += 1
        self.layers = nn.Sequential(*layers)
        height, width = scale_base(network.base)
        self.basis = nn.Parameter(torch.randn(1, features, height, width) / math.sqrt(height * width))
        self.head = linear(features, network.label_dim if self.is_conditional else 1)
        self.guess = linear(features, config.infogan_codes) if config.infogan_codes else None
        self.embed = linear(self.num_classes, network.label_dim, math.sqrt(self.num_classes))

    def forward(self, image: Tensor, label: Tensor) -> DiscriminatorOutput:
        # Not a depthwise convolution, whose double backward is slow: it loops over the channels.
        features = (self.layers(self.into(image)) * self.basis).sum(dim=(2, 3))
        h = self.head(features)
        if self.is_conditional:
            c = self.embed(F.one_hot(label, self.num_classes).to(h.dtype))
            h = (h * c).sum(dim=1, keepdim=True, dtype=torch.float32) / math.sqrt(c.shape[1])
        return DiscriminatorOutput(h.squeeze(1), self.guess(features) if self.guess is not None else features[:, :0])


class MLPDiscriminator(nn.Module):
    """(toy data, label) -> DiscriminatorOutput."""

    def __init__(self, config: DiscriminatorConfig, network: MLPConfig) -> None:
        super().__init__()
        self.num_classes = config.num_classes
        self.body = mlp(math.prod(config.shape) + config.num_classes, 1 + config.infogan_codes, network)

    def forward(self, image: Tensor, label: Tensor) -> DiscriminatorOutput:
        h = image.flatten(1)
        if self.num_classes > 0:
            h = torch.cat([h, F.one_hot(label, self.num_classes).to(h.dtype)], dim=1)
        out = self.body(h)
        return DiscriminatorOutput(out[:, 0], out[:, 1:])


class DCGANDiscriminator(nn.Module):
    """(image, label) -> DiscriminatorOutput; the label joins the image as one plane per class.

    DCGAN (Radford et al., arXiv 1511.06434), with models.dcgan's initialisation.
    """

    def __init__(self, config: DiscriminatorConfig, network: DCGANConfig) -> None:
        super().__init__()
        widths = network.widths
        self.num_classes = config.num_classes
        channels = config.shape[0] + config.num_classes
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[-1], 4, 2, 1), nn.LeakyReLU(0.2)]
        for a, b in itertools.pairwise(widths[::-1]):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        head = nn.Linear(widths[0] * math.prod(scale_base(network.base)), 1 + config.infogan_codes)
        # Weights are called body.layers.0.weight and so on in saved checkpoints.
        self.body = nn.ModuleDict({"layers": nn.Sequential(*layers, nn.Flatten(), head)})
        init_dcgan(self)

    def forward(self, image: Tensor, label: Tensor) -> DiscriminatorOutput:
        if self.num_classes > 0:
            planes = F.one_hot(label, self.num_classes).to(image.dtype)[:, :, None, None]
            image = torch.cat([image, planes.expand(-1, -1, *image.shape[2:])], dim=1)
        out = self.body["layers"](image)
        return DiscriminatorOutput(out[:, 0], out[:, 1:])


def build_discriminator(config: DiscriminatorConfig) -> nn.Module:
    """Return a freshly initialised discriminator.

    Its forward takes images, float32 (N, C, H, W), and label, int64 (N,), and returns a DiscriminatorOutput.
    """
    match config.network:
        case ResNetDiscriminatorConfig() as network:
            return ResNetDiscriminator(config, network)
        case DCGANConfig() as network:
            return DCGANDiscriminator(config, network)
        case network:
            return MLPDiscriminator(config, network)
