"""Generators: the architecture and its initialisation (R3GAN, arXiv 2501.05441, section 3).

Residual blocks without normalisation, a zero-initialised last convolution, bilinear resampling, a learned
basis at the lowest resolution. There is no noise inside: an output depends on its own latent and label only.
Not here: discriminators (training.gan.discriminators).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dcgan import DCGANGenerator
from models.network_config import (
    EXPANSION,
    DCGANConfig,
    GeneratorConfig,
    MLPConfig,
    PriorConfig,
    PyramidConfig,
    ResNetConfig,
    scale_base,
)
from models.runtime.torchscript import load_weights

LEAK = 0.2
# Keeps the variance of a leaky ReLU's output at that of its input (He et al., arXiv 1502.01852, section 2.2).
GAIN = math.sqrt(2.0 / (1.0 + LEAK**2))


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Return class weights that pick one class each: float32 (N, num_classes) from int64 (N,)."""
    if not num_classes:
        return torch.zeros(len(labels), 0, device=labels.device)
    return F.one_hot(labels, num_classes).float()


def init(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Draw weights from N(0, gain^2 / fan_in)."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0.0, 1.0)
    with torch.no_grad():
        layer.weight.mul_(gain / math.sqrt(fan_in))


def conv(c_in: int, c_out: int, size: int, gain: float, groups: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps height and width, without bias, initialised by `init`."""
    layer = nn.Conv2d(c_in, c_out, size, padding=size // 2, groups=groups, bias=False)
    init(layer, gain)
    return layer


def linear(d_in: int, d_out: int, gain: float = 1.0) -> nn.Linear:
    """Return a linear layer without bias, initialised by `init`."""
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
        h = self.conv1(x)
        # The bias takes the type of what it is added to: under bfloat16 it would turn it into float32.
        out: Tensor = x + self.conv2(self.act(h + self.bias.to(h.dtype)))
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
        h = self.conv1(x)
        h = self.conv2(self.act(h + self.bias1.to(h.dtype)))
        out: Tensor = x + self.conv3(self.act(h + self.bias2.to(h.dtype)))
        return out


def blocks(width: int, network: PyramidConfig) -> list[nn.Module]:
    """Return one level's residual blocks."""
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


class LearnedPrior(nn.Module):
    """(z, class weights) -> z, float32 (N, z_dim); starts as the identity.

    A flow: Euler steps along a velocity that a small network gives for each latent, class and step
    (training.gan.prior fits it).
    """

    def __init__(self, z_dim: int, num_classes: int, config: PriorConfig) -> None:
        super().__init__()
        self.steps = config.steps
        self.into = linear(z_dim, config.width, GAIN)
        self.embed = linear(max(num_classes, 1), config.width)
        self.time = nn.Parameter(torch.zeros(config.steps, config.width))
        self.act = nn.LeakyReLU(LEAK)
        self.hidden = linear(config.width, config.width, GAIN)
        self.bias = nn.Parameter(torch.zeros(config.width))
        self.out = linear(config.width, z_dim, 0.0)
        self.is_conditional = num_classes > 0

    def velocity(self, z: Tensor, class_weights: Tensor, time: Tensor) -> Tensor:
        """Return the velocity at latents, float32 (N, z_dim), where `time` is a row of `self.time`, or one for each."""
        h = self.into(z) + time
        if self.is_conditional:
            h = h + self.embed(class_weights)
        out: Tensor = self.out(self.act(self.hidden(self.act(h)) + self.bias))
        return out

    def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
        for step in range(self.steps):
            z = z + self.velocity(z, class_weights, self.time[step]) / self.steps
        return z


class ResNetGenerator(nn.Module):
    """(z, class weights) -> image. See `build_generator` for shapes and ranges."""

    def __init__(self, config: GeneratorConfig, network: ResNetConfig) -> None:
        super().__init__()
        self.prior = LearnedPrior(config.z_dim, config.num_classes, network.prior) if network.prior else None
        has_basis = network.input_layer == "basis"
        latent_dim = config.z_dim + (network.label_dim if config.num_classes else 0)
        self.embed = linear(max(config.num_classes, 1), network.label_dim)
        self.is_conditional = config.num_classes > 0
        self.base_shape = (network.widths[0], *scale_base(network.base))
        self.register_parameter("basis", nn.Parameter(torch.randn(1, *self.base_shape)) if has_basis else None)
        self.project = linear(latent_dim, network.widths[0] if has_basis else math.prod(self.base_shape))
        layers: list[nn.Module] = []
        for level, width in enumerate(network.widths):
            if level:
                layers.append(Up(network.widths[level - 1], width))
            layers += blocks(width, network)
        self.layers = nn.Sequential(*layers)
        self.out = conv(network.widths[-1], config.shape[0], 1, 1.0)
        # Set where a generator is exported: it runs faster so, but training would not go on as it did.
        self.channels_last = False

    def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
        if self.prior is not None:
            z = self.prior(z, class_weights)
        if self.is_conditional:
            z = torch.cat([z, self.embed(class_weights)], dim=1)
        h = self.project(z)
        h = h.unflatten(1, self.base_shape) if self.basis is None else h.unsqueeze(-1).unsqueeze(-1) * self.basis
        if self.channels_last:
            # Convolutions keep the memory format of their input.
            h = h.contiguous(memory_format=torch.channels_last)
        image: Tensor = self.out(self.layers(h))
        return image


def mlp(d_in: int, d_out: int, network: MLPConfig) -> nn.Sequential:
    """Return fully connected layers with leaky ReLUs in between."""
    sizes = [d_in] + [network.width] * network.layers
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layer = nn.Linear(a, b)
        init(layer, GAIN)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], d_out))


class MLPGenerator(nn.Module):
    """(z, class weights) -> toy data. See `build_generator` for shapes."""

    def __init__(self, config: GeneratorConfig, network: MLPConfig) -> None:
        super().__init__()
        self.shape = config.shape
        self.num_classes = config.num_classes
        self.body = mlp(config.z_dim + config.num_classes, math.prod(config.shape), network)

    def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
        if self.num_classes > 0:
            z = torch.cat([z, class_weights], dim=1)
        image: Tensor = self.body(z)
        return image.reshape(z.shape[0], self.shape[0], self.shape[1], self.shape[2])


def build_generator(config: GeneratorConfig) -> nn.Module:
    """Return a freshly initialised generator.

    Its forward takes z, float32 (N, z_dim), standard normal, and class weights, float32 (N, num_classes), one-hot
    (`one_hot`) or a mixture, ignored when num_classes is 0. It returns float32 (N, C, H, W), nominally -1 .. 1 for
    images; values outside are possible and are clipped when turned into pixels.
    """
    match config.network:
        case ResNetConfig() as network:
            return ResNetGenerator(config, network)
        case DCGANConfig() as network:
            return DCGANGenerator(
                config.z_dim, config.num_classes, config.shape[0], scale_base(network.base), network.widths
            )
        case network:
            return MLPGenerator(config, network)


def load_generator(config: GeneratorConfig, weights: bytes, path: Path) -> nn.Module:
    """Return the generator of an artifact, on the CPU.

    Args: weights, the bytes of generator.safetensors; path, of the file, for messages.
    Raises: ArtifactError.
    """
    generator = build_generator(config)
    load_weights(generator, weights, path)
    return generator


def hash_weights(network: nn.Module) -> str:
    """Return the sha256 of a network's weights: names and bytes, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
