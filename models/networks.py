"""Generators, and what they share with their discriminators.

Knows: the configurations of both, the architecture and its initialisation (R3GAN, arXiv 2501.05441,
section 3: residual blocks without normalisation, zero-initialised last convolution, bilinear
resampling, a learned basis at the lowest resolution). Does not know: losses, data, files. No noise
inside: an output depends on its own latent and label only.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from models.base import Frozen
from models.dcgan import DCGANGenerator

LEAK = 0.2
# Keeps the variance of a leaky ReLU's output at that of its input (He et al., arXiv 1502.01852, section 2.2).
GAIN = math.sqrt(2.0 / (1.0 + LEAK**2))

# How much wider a bottleneck is inside.
EXPANSION = 2

Shape = tuple[int, int, int]


def _check_side(base: int, doublings: int, shape: Shape) -> None:
    side = base * 2**doublings
    if shape[1:] != (side, side):
        raise ValueError(
            f"the networks make {side}x{side} images (base {base}, doubled {doublings} times), "
            f"but the data has {shape[1]}x{shape[2]}"
        )


class PyramidConfig(Frozen):
    """A pyramid of residual blocks.

    `widths` are channels per level, from the lowest resolution (`base` pixels a side) upwards; each
    further level doubles the side.
    """

    kind: Literal["resnet"] = "resnet"
    base: int = Field(ge=2)
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    blocks: int = Field(default=1, ge=1, description="residual blocks per level")
    label_dim: int = Field(default=32, ge=1, description="size of the label embedding")
    group: int = Field(
        default=0,
        ge=0,
        description="0: blocks of two 3x3 convolutions; else R3GAN's bottlenecks, with so many channels in a group",
    )

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        if self.group and any(EXPANSION * width % self.group for width in self.widths):
            raise ValueError(f"group {self.group} must divide twice each of the widths {list(self.widths)}")
        return self

    def check_side(self, shape: Shape) -> None:
        _check_side(self.base, len(self.widths) - 1, shape)


class ResNetConfig(PyramidConfig):
    """The pyramid, walked upwards."""

    start: Literal["basis", "dense"] = Field(
        default="basis",
        description="the lowest resolution: a learned picture a channel, scaled by the latent; or linear in the latent",
    )


class ResNetDiscriminatorConfig(PyramidConfig):
    """The same pyramid, walked downwards."""

    minibatch_group: int = Field(
        default=1,
        ge=1,
        description="images in a row whose spread D is told (minibatch standard deviation); 1: it is not",
    )


class MLPConfig(Frozen):
    """Fully connected layers, for low-dimensional toy data of shape (dim, 1, 1)."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(ge=1)
    layers: int = Field(ge=1)
    label_dim: int = Field(default=32, ge=1)

    def check_side(self, shape: Shape) -> None:
        if shape[1:] != (1, 1):
            raise ValueError(f"an mlp takes data of shape (dim, 1, 1), got {shape}")


class DCGANConfig(Frozen):
    """The baseline of models.dcgan.

    `widths` are channels per level from the lowest resolution (`base` pixels a side) upwards; the image
    comes out of one more doubling than there are widths above the first.
    """

    kind: Literal["dcgan"] = "dcgan"
    base: int = Field(ge=2)
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)

    def check_side(self, shape: Shape) -> None:
        _check_side(self.base, len(self.widths), shape)


NetworkConfig = Annotated[ResNetConfig | MLPConfig | DCGANConfig, Field(discriminator="kind")]
DiscriminatorNetworkConfig = Annotated[ResNetDiscriminatorConfig | MLPConfig | DCGANConfig, Field(discriminator="kind")]


class GeneratorConfig(Frozen):
    """All that is needed to build a generator again, as kept in the manifest."""

    z_dim: int = Field(ge=1)
    labels: int = Field(ge=0, description="number of classes; 0 for an unconditional model")
    shape: Shape = Field(description="channels, height, width of one image")
    network: NetworkConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> GeneratorConfig:
        self.network.check_side(self.shape)
        return self


class DiscriminatorConfig(Frozen):
    """All that is needed to build a discriminator again."""

    labels: int = Field(ge=0)
    shape: Shape
    codes: int = Field(default=0, ge=0, description="leading entries of z that it shall read from an image")
    network: DiscriminatorNetworkConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> DiscriminatorConfig:
        self.network.check_side(self.shape)
        return self


def init(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, 1.0)
    with torch.no_grad():
        layer.weight.mul_(gain / math.sqrt(fan_in))


def conv(c_in: int, c_out: int, size: int, gain: float, groups: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(c_in, c_out, size, padding=size // 2, groups=groups, bias=False)
    init(layer, gain)
    return layer


def linear(d_in: int, d_out: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(d_in, d_out, bias=False)
    init(layer, gain)
    return layer


class ResidualBlock(nn.Module):
    """x + conv3x3(act(conv3x3(x) + b)); starts as the identity (Fixup, arXiv 1901.09321)."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        # Fixup, section 3: m = 2 layers a branch, so the first scales by depth^(-1/(2m-2)).
        self.conv1 = conv(channels, channels, 3, GAIN * depth**-0.5)
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.act = nn.LeakyReLU(LEAK)
        self.conv2 = conv(channels, channels, 3, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(self.act(self.conv1(x) + self.bias))
        return out


class Bottleneck(nn.Module):
    """x + conv1x1(act(grouped conv3x3(act(conv1x1(x) + b)) + b)), twice as wide inside (R3GAN, section 3)."""

    def __init__(self, channels: int, depth: int, group: int) -> None:
        super().__init__()
        inner = EXPANSION * channels
        # Fixup with m = 3 layers a branch.
        gain = GAIN * depth**-0.25
        self.conv1 = conv(channels, inner, 1, gain)
        self.bias1 = nn.Parameter(torch.zeros(1, inner, 1, 1))
        self.conv2 = conv(inner, inner, 3, gain, groups=inner // group)
        self.bias2 = nn.Parameter(torch.zeros(1, inner, 1, 1))
        self.act = nn.LeakyReLU(LEAK)
        self.conv3 = conv(inner, channels, 1, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.conv1(x) + self.bias1)
        out: Tensor = x + self.conv3(self.act(self.conv2(h) + self.bias2))
        return out


def blocks(width: int, network: PyramidConfig) -> list[nn.Module]:
    """One level's residual blocks."""
    depth = network.blocks * len(network.widths)
    if network.group:
        return [Bottleneck(width, depth, network.group) for _ in range(network.blocks)]
    return [ResidualBlock(width, depth) for _ in range(network.blocks)]


class Up(nn.Module):
    """1x1 convolution at the lower resolution, then bilinear doubling."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.mix = conv(c_in, c_out, 1, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.mix(x), scale_factor=2.0, mode="bilinear", align_corners=False)


class ResNetGenerator(nn.Module):
    """(z, label) -> image. See `generator` for shapes and ranges."""

    def __init__(self, config: GeneratorConfig, network: ResNetConfig) -> None:
        super().__init__()
        latent_dim = config.z_dim + (network.label_dim if config.labels else 0)
        self.embed = linear(max(config.labels, 1), network.label_dim)
        self.conditional = config.labels > 0
        self.start = (network.widths[0], network.base, network.base)
        learned = nn.Parameter(torch.randn(1, *self.start)) if network.start == "basis" else None
        self.register_parameter("basis", learned)
        self.project = linear(latent_dim, network.widths[0] if network.start == "basis" else math.prod(self.start))
        layers: list[nn.Module] = []
        for level, width in enumerate(network.widths):
            if level:
                layers.append(Up(network.widths[level - 1], width))
            layers += blocks(width, network)
        self.layers = nn.Sequential(*layers)
        self.out = conv(network.widths[-1], config.shape[0], 1, 1.0)
        self.labels = max(config.labels, 1)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        if self.conditional:
            z = torch.cat([z, self.embed(F.one_hot(label, self.labels).to(z.dtype))], dim=1)
        h = self.project(z)
        h = h.unflatten(1, self.start) if self.basis is None else h.unsqueeze(-1).unsqueeze(-1) * self.basis
        image: Tensor = self.out(self.layers(h))
        return image


def mlp(d_in: int, d_out: int, network: MLPConfig) -> nn.Sequential:
    sizes = [d_in] + [network.width] * network.layers
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        linear = nn.Linear(a, b)
        init(linear, GAIN)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], d_out))


class MLPGenerator(nn.Module):
    def __init__(self, config: GeneratorConfig, network: MLPConfig) -> None:
        super().__init__()
        self.shape = config.shape
        self.labels = config.labels
        self.body = mlp(config.z_dim + config.labels, math.prod(config.shape), network)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        if self.labels > 0:
            z = torch.cat([z, F.one_hot(label, self.labels).to(z.dtype)], dim=1)
        image: Tensor = self.body(z)
        return image.reshape(z.shape[0], self.shape[0], self.shape[1], self.shape[2])


def generator(config: GeneratorConfig) -> nn.Module:
    """A freshly initialised generator.

    Its forward takes z, float32 (N, z_dim), standard normal, and label, int64 (N,) in
    0 .. labels - 1 (ignored when labels is 0), and returns float32 (N, C, H, W), nominally -1 .. 1
    for images; values outside are possible and are clipped when turned into pixels.
    """
    match config.network:
        case ResNetConfig() as network:
            return ResNetGenerator(config, network)
        case DCGANConfig() as network:
            return DCGANGenerator(config.z_dim, config.labels, config.shape[0], network.base, network.widths)
        case network:
            return MLPGenerator(config, network)
