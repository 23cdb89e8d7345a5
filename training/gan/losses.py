"""Losses, as pure functions of tensors.

The relativistic pairing loss and the R1 and R2 penalties are R3GAN's (arXiv 2501.05441, section 2,
equations 2-4); the classic losses are there for comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def generator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the relativistic pairing loss of the generator.

    Args: logits, float (N,); real and fake are paired by position.
    Returns: float (N,), softplus(-(fake - real)).
    """
    return F.softplus(real_logits - fake_logits)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the relativistic pairing loss of the discriminator: float (N,), softplus(-(real - fake))."""
    return F.softplus(fake_logits - real_logits)


def non_saturating_generator_loss(_: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the classic generator loss, float (N,), softplus(-fake) (arXiv 1406.2661, section 3)."""
    return F.softplus(-fake_logits)


def classic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the classic discriminator loss, a cross-entropy: float (N,), softplus(-real) + softplus(fake)."""
    return F.softplus(-real_logits) + F.softplus(fake_logits)


class Objective(NamedTuple):
    """A pair of losses, each of real and fake logits (N,) to float (N,)."""

    generator: Callable[[Tensor, Tensor], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]


OBJECTIVES = {
    "relativistic": Objective(generator_loss, discriminator_loss),
    "classic": Objective(non_saturating_generator_loss, classic_discriminator_loss),
}


def zero_centered_gradient_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """Return the squared norm of each logit's gradient by its own image: R1 on real, R2 on fake images.

    Args:
        images: (N, C, H, W), with requires_grad, from which `logits` were computed.
        logits: (N,).
    Returns: float (N,), differentiable by the discriminator's weights.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def infogan_loss(predicted: Tensor, codes: Tensor) -> Tensor:
    """Return InfoGAN's loss of continuous codes, up to a constant (Chen et al., arXiv 1606.03657, section 5).

    The negative log-likelihood of the codes under a Gaussian of variance 1 around the prediction.

    Args: predicted and sampled codes, float (N, infogan_codes).
    Returns: float (N,); 0 where there are no codes.
    """
    return 0.5 * (predicted.float() - codes).square().sum(1)
