"""Asking G for real images again, from latents that an encoder reads off them.

An adversarial loss alone leaves latents unused: two that differ in one entry give nearly the same image, and
small ways of writing are lost. So every second image of G's batch is made from a latent of the encoder's, and
shall be like the real image that was read (VAE/GAN, Larsen et al., arXiv 1512.09300, sections 2.1-2.3, with
averaged pixels in the place of D's features). D judges the others only: what is read it never saw among the generated
images, and an encoder that heard of its judgement would rather fool it than be true to the image. Knows: the
encoder's configuration, which images are read, and how far a reading is from the prior. Does not know: networks'
insides, schedules, the other losses.
"""

from __future__ import annotations

from torch import Tensor

from training.gan.encoders import Posterior

# Rows of G's batch: read off real images, drawn from the prior, and all of them drawn where there is no encoder.
READ, DRAWN, ALL = slice(0, None, 2), slice(1, None, 2), slice(None)


def read(posterior: Posterior, normal: Tensor) -> Tensor:
    """Latents as the encoder reads them, (N, z_dim), from standard normal numbers (N, z_dim).

    The reparameterisation of Kingma and Welling, arXiv 1312.6114, section 2.4.
    """
    return posterior.mean + (0.5 * posterior.log_variance).exp() * normal


def divergence(posterior: Posterior) -> Tensor:
    """From the standard normal, in nats, float (N,) (Kingma and Welling, arXiv 1312.6114, appendix B)."""
    mean, log_variance = posterior
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)
