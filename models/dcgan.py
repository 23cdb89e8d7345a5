"""DCGAN's generator (Radford et al., arXiv 1511.06434), the well-known baseline, conditional on a label.

In evaluation mode BatchNorm is a fixed scale and offset, so that an output depends on its own latent and
label only; in training it depends on the batch.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn


def init_dcgan(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and BatchNorm's scales from N(1, 0.02) (section 4)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1.0, 0.02)


class DCGANGenerator(nn.Module):
    """(z, class weights) -> image in -1 .. 1; the class weights join z.

    Args:
        z_dim: length of z.
        num_classes: number of classes, 0 for none.
        channels: of the image.
        base: height and width of the lowest resolution.
        widths: channels from the lowest resolution upwards; each and the image double the sides.
    """

    def __init__(
        self, z_dim: int, num_classes: int, channels: int, base: tuple[int, int], widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.base_shape = (widths[0], *base)
        self.project = nn.Linear(z_dim + num_classes, math.prod(self.base_shape), bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for a, b in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        init_dcgan(self)

    def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
        if self.num_classes > 0:
            z = torch.cat([z, class_weights], dim=1)
        h = self.project(z).unflatten(1, self.base_shape)
        image: Tensor = self.layers(h)
        return image
