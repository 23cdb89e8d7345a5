"""A discriminator that sees fixed features of a pretrained network instead of pixels.

Projected GANs (Sauer et al., arXiv 2111.01007, section 3): random convolutions, which never learn, mix a frozen
network's maps across channels and from coarse to fine scales, so that no scale can be neglected; a small head scores
each mixed map. Where the paper has a hinge loss, the heads have the main discriminator's.
Not here: the frozen network (training.efficientnet).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import InputError
from models.networks import GAIN, LEAK, conv, linear
from training.discriminator_config import DiscriminatorConfig, ResNetDiscriminatorConfig
from training.efficientnet import CHANNELS, HOW_TO_INSTALL, EfficientNetLite0, is_installed, load_efficientnet
from training.gan.discriminators import MinibatchStd
from training.gan.losses import Objective
from training.optional_parts import ProjectedConfig

# A head halves its map until the side is at most this.
HEAD_SIDE = 4
# The root mean square of each map on photographs of 64 pixels a side.
MAP_SCALES = (9.4, 8.8, 8.8, 3.6)
# The smallest side of an image whose four maps are not all single pixels.
MIN_SIDE = 16


class FeatureMixer(nn.Module):
    """Maps at four scales -> as many mixed maps of one width; random and frozen (arXiv 2111.01007, section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.across_channels = nn.ModuleList(conv(channels, width, 1, 1.0) for channels in CHANNELS)
        # The sum of two maps has twice the variance of one.
        self.across_scales = nn.ModuleList(conv(width, width, 3, 0.5**0.5) for _ in CHANNELS[1:])
        self.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Mix float (N, C, H, W) for each C of CHANNELS; return float (N, width, H, W) each, in the same order."""
        levels = [mix(level / scale) for mix, level, scale in zip(self.across_channels, maps, MAP_SCALES)]
        mixed = [levels[-1]]
        for level, mix in zip(levels[-2::-1], self.across_scales):
            coarser = F.interpolate(mixed[-1], size=level.shape[2:], mode="bilinear", align_corners=False)
            mixed.append(mix(level + coarser))
        return mixed[::-1]


class Head(nn.Module):
    """(map, label) -> a logit for each place; logits by projection (Miyato and Koyama, arXiv 1802.05637)."""

    def __init__(self, width: int, halvings: int, num_classes: int, minibatch_group: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [conv(width, width, 3, GAIN), nn.LeakyReLU(LEAK), nn.AvgPool2d(2, ceil_mode=True)]
        features = width
        if minibatch_group > 1:
            layers.append(MinibatchStd(minibatch_group))
            features += 1
        layers += [conv(features, width, 3, GAIN), nn.LeakyReLU(LEAK)]
        self.layers = nn.Sequential(*layers)
        self.num_classes = max(num_classes, 1)
        self.embed = linear(self.num_classes, width, math.sqrt(self.num_classes))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = self.layers(x)
        c = self.embed(F.one_hot(label, self.num_classes).to(h.dtype))[:, :, None, None]
        logits: Tensor = (h * c).sum(dim=1).flatten(1) / math.sqrt(c.shape[1])
        return logits


class ProjectedHeads(nn.Module):
    """(mixed maps, label) -> logits, float (N, places of all heads)."""

    def __init__(self, config: DiscriminatorConfig, projected: ProjectedConfig) -> None:
        super().__init__()
        network = config.network
        group = network.minibatch_group if isinstance(network, ResNetDiscriminatorConfig) else 1
        self.mixer = FeatureMixer(projected.width)
        side = max(config.shape[1:]) * projected.scale
        sides = [math.ceil(side / stride) for stride in (4, 8, 16, 32)]
        halvings = [max(math.ceil(math.log2(side / HEAD_SIDE)), 0) for side in sides]
        self.heads = nn.ModuleList(Head(projected.width, n, config.num_classes, group) for n in halvings)

    def forward(self, mixed: list[Tensor], label: Tensor) -> Tensor:
        return torch.cat([head(x, label) for head, x in zip(self.heads, mixed)], dim=1)


class FeaturePairs(NamedTuple):
    """Real and generated images as the heads see them, paired by position.

    Attributes:
        real: mixed maps, float32 (N, width, H, W) each, without gradients.
        fake: the same of generated images, with gradients to these.
        labels: int64 (N,).
    """

    real: list[Tensor]
    fake: list[Tensor]
    labels: Tensor


class ProjectedLosses(NamedTuple):
    """Of the heads for one batch, float (N,) each.

    Attributes:
        adversarial: a mean over the places of all heads.
        penalty: R1 + R2, before gamma; 0 where they were not asked for.
        acc_pair: share of places at which the real image has the higher logit.
    """

    adversarial: Tensor
    penalty: Tensor
    acc_pair: Tensor


class ProjectedDiscriminator:
    """The frozen network and the discriminator on its features.

    Args:
        config: of the main discriminator: classes, the images' shape, the size of minibatch groups.
        projected: the settings.
    Raises: InputError where the weights are not installed, or the images do not suit the network.
    """

    def __init__(self, config: DiscriminatorConfig, projected: ProjectedConfig) -> None:
        if not is_installed():
            raise InputError(HOW_TO_INSTALL, "projected")
        channels, *sides = config.shape
        if min(sides) * projected.scale < MIN_SIDE or channels not in (1, 3):
            raise InputError(f"needs grey or RGB images of at least {MIN_SIDE} pixels a side, after scale", "projected")
        self.backbone: EfficientNetLite0 = load_efficientnet()
        self.network = ProjectedHeads(config, projected)
        self._scale = projected.scale

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the mixed maps of images, float (N, 1 or 3, H, W), -1 .. 1; gradients flow back to the images."""
        if self._scale > 1:
            images = F.interpolate(images, scale_factor=self._scale, mode="bilinear", align_corners=False)
        maps = self.backbone(images.expand(-1, 3, -1, -1))
        return [mixed.float() for mixed in self.network.mixer(maps)]

    def generator_loss(self, pairs: FeaturePairs, objective: Objective) -> Tensor:
        """Return G's loss, float (N,), a mean over the places of all heads."""
        with torch.no_grad():
            real_logits = self.network(pairs.real, pairs.labels)
        return objective.generator(real_logits, self.network(pairs.fake, pairs.labels)).mean(dim=1)

    def discriminator_losses(self, pairs: FeaturePairs, objective: Objective, with_penalty: bool) -> ProjectedLosses:
        """Return the heads' losses."""
        logits = []
        penalty = torch.zeros(len(pairs.labels), device=pairs.labels.device)
        for maps in (pairs.real, pairs.fake):
            inputs = [level.detach().requires_grad_(with_penalty) for level in maps]
            logits.append(self.network(inputs, pairs.labels))
            if with_penalty:
                penalty = penalty + feature_gradient_penalty(inputs, logits[-1])
        real_logits, fake_logits = logits
        return ProjectedLosses(
            adversarial=objective.discriminator(real_logits, fake_logits).mean(dim=1),
            penalty=penalty,
            acc_pair=(real_logits > fake_logits).float().mean(dim=1),
        )


def feature_gradient_penalty(maps: list[Tensor], logits: Tensor) -> Tensor:
    """Return R1 or R2 with respect to features: the squared norm of the mean logit's gradient, float (N,).

    It is multiplied by the number of an image's features, which have a mean square of about 1: the same as for features
    scaled to a norm of 1, so that it depends neither on `width` nor on the size of the images.
    """
    gradients = torch.autograd.grad(logits.mean(dim=1).sum(), maps, create_graph=True)
    count = sum(level[0].numel() for level in maps)
    return count * torch.stack([gradient.square().flatten(1).sum(1) for gradient in gradients]).sum(0)
