"""The objective, as pure functions of tensors.

Knows: the relativistic pairing loss and the R1 and R2 penalties (R3GAN, arXiv 2501.05441, section 2,
equations 2-4). Does not know: networks' insides, optimisers, data, files.
"""

from __future__ import annotations

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


def zero_centered_gradient_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """Squared norm of the gradient of each logit by its own image: R1 on real, R2 on fake images.

    Args:
        images: (N, C, H, W), with requires_grad, from which `logits` were computed.
        logits: (N,).
    Returns: float (N,), differentiable by the discriminator's weights.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)
