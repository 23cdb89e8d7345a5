"""The objective, as pure functions of tensors.

Knows: the relativistic pairing loss and the R1 and R2 penalties (R3GAN, arXiv 2501.05441, section 2,
equations 2-4), what they are compared with, and the loss of latent codes. Does not know: networks'
insides, optimisers, data, files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def generator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Relativistic pairing loss of the generator.

    Args: logits, float (N,); real and fake are paired by position.
    Returns: float (N,), softplus(-(fake - real)).
    """
    return F.softplus(real_logits - fake_logits)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Relativistic pairing loss of the discriminator: float (N,), softplus(-(real - fake))."""
    return F.softplus(fake_logits - real_logits)


def non_saturating_generator_loss(_: Tensor, fake_logits: Tensor) -> Tensor:
    """The classic generator's loss (Goodfellow et al., arXiv 1406.2661, section 3): float (N,), softplus(-fake)."""
    return F.softplus(-fake_logits)


def classic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The classic discriminator's loss, cross-entropy: float (N,), softplus(-real) + softplus(fake)."""
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
    """Squared norm of the gradient of each logit by its own image: R1 on real, R2 on fake images.

    Args:
        images: (N, C, H, W), with requires_grad, from which `logits` were computed.
        logits: (N,).
    Returns: float (N,), differentiable by the discriminator's weights.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def code_loss(guessed: Tensor, codes: Tensor) -> Tensor:
    """InfoGAN's loss of continuous codes (Chen et al., arXiv 1606.03657, section 5), up to a constant.

    The negative log-likelihood of the codes under a Gaussian of variance 1 about the guess.

    Args: guessed and drawn codes, float (N, codes).
    Returns: float (N,); 0 where there are no codes.
    """
    return 0.5 * (guessed.float() - codes).square().sum(1)
