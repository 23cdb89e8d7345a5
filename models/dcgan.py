"""DCGAN (Radford et al., arXiv 1511.06434), the baseline that everyone knows; conditional on a label.

Knows: its two networks, with their BatchNorm, initialisation and output range. Does not know:
configurations, losses. In evaluation mode BatchNorm is a fixed scale and offset, so that an output
depends on its own latent and label only; in training it depends on the batch.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _initialised(network: nn.Module) -> None:
    """Section 4: weights from N(0, 0.02); BatchNorm's scales around 1."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.weight, 1.0, 0.02)


class DCGANGenerator(nn.Module):
    """(z, label) -> image in -1 .. 1; the label joins z as a one-hot vector.

    Args:
        z_dim: length of z.
        labels: number of classes, 0 for none.
        channels: of the image.
        base: side of the lowest resolution.
        widths: channels from the lowest resolution upwards; each and the image double the side.
    """

    def __init__(self, z_dim: int, labels: int, channels: int, base: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.labels, self.first, self.base = labels, widths[0], base
        self.project = nn.Linear(z_dim + labels, widths[0] * base * base, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for a, b in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        _initialised(self)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        if self.labels > 0:
            z = torch.cat([z, F.one_hot(label, self.labels).to(z.dtype)], dim=1)
        h = self.project(z).reshape(-1, self.first, self.base, self.base)
        image: Tensor = self.layers(h)
        return image


class DCGANDiscriminator(nn.Module):
    """(image, label) -> float (N, 1 + codes): the logit, then the guessed codes.

    The label joins the image as one plane per class. Arguments as the generator's.
    """

    def __init__(self, codes: int, labels: int, channels: int, base: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.labels = labels
        layers: list[nn.Module] = [nn.Conv2d(channels + labels, widths[-1], 4, 2, 1), nn.LeakyReLU(0.2)]
        for a, b in itertools.pairwise(widths[::-1]):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[0] * base * base, 1 + codes))
        _initialised(self)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        if self.labels > 0:
            planes = F.one_hot(label, self.labels).to(image.dtype)[:, :, None, None]
            image = torch.cat([image, planes.expand(-1, -1, *image.shape[2:])], dim=1)
        out: Tensor = self.layers(image)
        return out
