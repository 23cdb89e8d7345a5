"""Generator and discriminator.

Knows: the architectures and their initialisation (R3GAN, arXiv 2501.05441, section 3: residual
blocks without normalisation, zero-initialised last convolution, bilinear resampling, a learned
basis at the lowest resolution). Does not know: losses, data, files. No BatchNorm, no noise inside:
an output depends on its own latent and label only.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

LEAK = 0.2
# Keeps the variance of a leaky ReLU's output at that of its input (He et al., arXiv 1502.01852, section 2.2).
GAIN = math.sqrt(2.0 / (1.0 + LEAK**2))

Shape = tuple[int, int, int]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ResNetConfig(_Config):
    """A pyramid of residual blocks.

    `widths` are channels per level, from the lowest resolution (`base` pixels a side) upwards; each
    further level doubles the side. The discriminator walks the same pyramid downwards.
    """

    kind: Literal["resnet"] = "resnet"
    base: int = Field(ge=2)
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    blocks: int = Field(default=1, ge=1, description="residual blocks per level")
    label_dim: int = Field(default=32, ge=1, description="size of the label embedding")

    def check_side(self, shape: Shape) -> None:
        side = self.base * 2 ** (len(self.widths) - 1)
        if shape[1:] != (side, side):
            raise ValueError(
                f"base {self.base} with {len(self.widths)} levels makes {side}x{side} images, "
                f"but the data has {shape[1]}x{shape[2]}"
            )


class MLPConfig(_Config):
    """Fully connected layers, for low-dimensional toy data of shape (dim, 1, 1)."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(ge=1)
    layers: int = Field(ge=1)
    label_dim: int = Field(default=32, ge=1)

    def check_side(self, shape: Shape) -> None:
        if shape[1:] != (1, 1):
            raise ValueError(f"an mlp takes data of shape (dim, 1, 1), got {shape}")


NetworkConfig = Annotated[ResNetConfig | MLPConfig, Field(discriminator="kind")]


class GeneratorConfig(_Config):
    """All that is needed to build a generator again, as kept in the manifest."""

    z_dim: int = Field(ge=1)
    labels: int = Field(ge=0, description="number of classes; 0 for an unconditional model")
    shape: Shape = Field(description="channels, height, width of one image")
    network: NetworkConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> GeneratorConfig:
        self.network.check_side(self.shape)
        return self


class DiscriminatorConfig(_Config):
    """All that is needed to build a discriminator again."""

    labels: int = Field(ge=0)
    shape: Shape
    network: NetworkConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> DiscriminatorConfig:
        self.network.check_side(self.shape)
        return self


def _init(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, 1.0)
    with torch.no_grad():
        layer.weight.mul_(gain / math.sqrt(fan_in))


def _conv(c_in: int, c_out: int, size: int, gain: float, groups: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(c_in, c_out, size, padding=size // 2, groups=groups, bias=False)
    _init(layer, gain)
    return layer


def _linear(d_in: int, d_out: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(d_in, d_out, bias=False)
    _init(layer, gain)
    return layer


class ResidualBlock(nn.Module):
    """x + conv3x3(act(conv3x3(x) + b)); starts as the identity (Fixup, arXiv 1901.09321)."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        # Fixup, section 3: m = 2 layers a branch, so the first scales by depth^(-1/(2m-2)).
        self.conv1 = _conv(channels, channels, 3, GAIN * depth**-0.5)
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.act = nn.LeakyReLU(LEAK)
        self.conv2 = _conv(channels, channels, 3, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(self.act(self.conv1(x) + self.bias))
        return out


class Up(nn.Module):
    """1x1 convolution at the lower resolution, then bilinear doubling."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.mix = _conv(c_in, c_out, 1, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.mix(x), scale_factor=2.0, mode="bilinear", align_corners=False)


class Down(nn.Module):
    """2x2 mean, then a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.mix = _conv(c_in, c_out, 1, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mix(F.avg_pool2d(x, 2))
        return out


class ResNetGenerator(nn.Module):
    """(z, label) -> image. See `generator` for shapes and ranges."""

    def __init__(self, config: GeneratorConfig, network: ResNetConfig) -> None:
        super().__init__()
        depth = network.blocks * len(network.widths)
        label_dim = network.label_dim if config.labels else 0
        self.embed = _linear(max(config.labels, 1), network.label_dim)
        self.conditional = config.labels > 0
        self.basis = nn.Parameter(torch.randn(1, network.widths[0], network.base, network.base))
        self.project = _linear(config.z_dim + label_dim, network.widths[0])
        layers: list[nn.Module] = []
        for level, width in enumerate(network.widths):
            if level:
                layers.append(Up(network.widths[level - 1], width))
            layers += [ResidualBlock(width, depth) for _ in range(network.blocks)]
        self.layers = nn.Sequential(*layers)
        self.out = _conv(network.widths[-1], config.shape[0], 1, 1.0)
        self.labels = max(config.labels, 1)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        if self.conditional:
            z = torch.cat([z, self.embed(F.one_hot(label, self.labels).to(z.dtype))], dim=1)
        h = self.project(z).unsqueeze(-1).unsqueeze(-1) * self.basis
        image: Tensor = self.out(self.layers(h))
        return image


class ResNetDiscriminator(nn.Module):
    """(image, label) -> logit, by projection (Miyato and Koyama, arXiv 1802.05637)."""

    def __init__(self, config: DiscriminatorConfig, network: ResNetConfig) -> None:
        super().__init__()
        widths = network.widths[::-1]
        depth = network.blocks * len(widths)
        self.conditional = config.labels > 0
        self.labels = max(config.labels, 1)
        self.into = _conv(config.shape[0], widths[0], 1, 1.0)
        layers: list[nn.Module] = []
        for level, width in enumerate(widths):
            if level:
                layers.append(Down(widths[level - 1], width))
            layers += [ResidualBlock(width, depth) for _ in range(network.blocks)]
        self.layers = nn.Sequential(*layers)
        self.basis = nn.Parameter(torch.randn(1, widths[-1], network.base, network.base) / network.base)
        self.head = _linear(widths[-1], network.label_dim if self.conditional else 1)
        self.embed = _linear(self.labels, network.label_dim, math.sqrt(self.labels))

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        # As a depthwise convolution this would be slow: its double backward loops over the channels.
        h = (self.layers(self.into(image)) * self.basis).sum(dim=(2, 3))
        h = self.head(h)
        if self.conditional:
            c = self.embed(F.one_hot(label, self.labels).to(h.dtype))
            h = (h * c).sum(dim=1, keepdim=True, dtype=torch.float32) / math.sqrt(c.shape[1])
        logit: Tensor = h.squeeze(1)
        return logit


def _mlp(d_in: int, d_out: int, network: MLPConfig) -> nn.Sequential:
    sizes = [d_in] + [network.width] * network.layers
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        linear = nn.Linear(a, b)
        _init(linear, GAIN)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], d_out))


class MLPGenerator(nn.Module):
    def __init__(self, config: GeneratorConfig, network: MLPConfig) -> None:
        super().__init__()
        self.shape = config.shape
        self.labels = config.labels
        self.body = _mlp(config.z_dim + config.labels, math.prod(config.shape), network)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        if self.labels > 0:
            z = torch.cat([z, F.one_hot(label, self.labels).to(z.dtype)], dim=1)
        image: Tensor = self.body(z)
        return image.reshape(z.shape[0], self.shape[0], self.shape[1], self.shape[2])


class MLPDiscriminator(nn.Module):
    def __init__(self, config: DiscriminatorConfig, network: MLPConfig) -> None:
        super().__init__()
        self.labels = config.labels
        self.body = _mlp(math.prod(config.shape) + config.labels, 1, network)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        h = image.flatten(1)
        if self.labels > 0:
            h = torch.cat([h, F.one_hot(label, self.labels).to(h.dtype)], dim=1)
        logit: Tensor = self.body(h)
        return logit.squeeze(1)


def generator(config: GeneratorConfig) -> nn.Module:
    """A freshly initialised generator.

    Its forward takes z, float32 (N, z_dim), standard normal, and label, int64 (N,) in
    0 .. labels - 1 (ignored when labels is 0), and returns float32 (N, C, H, W), nominally -1 .. 1
    for images; values outside are possible and are clipped when turned into pixels.
    """
    if isinstance(config.network, ResNetConfig):
        return ResNetGenerator(config, config.network)
    return MLPGenerator(config, config.network)


def discriminator(config: DiscriminatorConfig) -> nn.Module:
    """A freshly initialised discriminator.

    Its forward takes images, float32 (N, C, H, W), and label, int64 (N,), and returns unbounded
    logits, float32 (N,); only differences of logits mean anything under the relativistic loss.
    """
    if isinstance(config.network, ResNetConfig):
        return ResNetDiscriminator(config, config.network)
    return MLPDiscriminator(config, config.network)
