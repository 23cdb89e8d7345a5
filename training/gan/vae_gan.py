"""Reconstruction loss: G must reproduce real images from the latents that an encoder infers (VAE/GAN).

An adversarial loss alone leaves latents unused: two that differ in one entry give nearly the same image,
and small variations of the data are lost. So half of G's batch is generated from encoded real images and
compared with them (Larsen et al., arXiv 1512.09300, sections 2.1-2.3, with averaged pixels instead of D's
features). D sees only the other half, unless `encoder.adversarial`; its loss never reaches the encoder, which
would learn to fool D instead of describing the image.
"""

from __future__ import annotations

from torch import Tensor

from training.gan.encoders import Posterior
from training.gan.image_ops import average_pixels

# Rows of G's batch: from encoded real images, sampled from the prior, and all of them where there is no encoder.
ENCODED = slice(0, None, 2)
SAMPLED = slice(1, None, 2)
ALL_ROWS = slice(None)


def reparameterize(posterior: Posterior, normal: Tensor) -> Tensor:
    """Turn standard normal numbers into samples of the posterior, (N, z_dim) each.

    The reparameterisation trick of Kingma and Welling, arXiv 1312.6114, section 2.4.
    """
    return posterior.mean + (0.5 * posterior.log_variance).exp() * normal


def insert_encoded(z: Tensor, posterior: Posterior, std: float) -> Tensor:
    """Replace the rows ENCODED of latents by samples of the posterior.

    Args:
        z: (N, z_dim), drawn from a prior of this standard deviation.
        posterior: of the rows ENCODED; its samples are scaled as the prior is.
    """
    z = z.clone()
    z[ENCODED] = std * reparameterize(posterior, z[ENCODED] / std)
    return z


def kl_divergence(posterior: Posterior) -> Tensor:
    """Return the KL divergence from the standard normal prior, in nats, float (N,).

    Kingma and Welling, arXiv 1312.6114, appendix B.
    """
    mean, log_variance = posterior
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)


def reconstruction_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Return the mean squared distance of averaged images, float (N, C, H, W) each, to float (N,)."""
    return (average_pixels(fake) - average_pixels(real)).square().flatten(1).mean(1)
