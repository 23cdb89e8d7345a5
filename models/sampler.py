"""From addresses to pixels.

Not here: queues (service.batcher), files (models.images), what computes a batch (models.runtime).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL
from numpy.typing import NDArray

from models.address import Address
from models.latents import draw_latent
from models.manifest import Manifest
from models.runtime.base import Runtime


class Sampler:
    """Mints the pixels of one model. Not for two threads at once.

    Args:
        runtime: runs the model's generator.
        manifest: of the model.
    """

    def __init__(self, runtime: Runtime, manifest: Manifest) -> None:
        self.runtime = runtime
        self.manifest = manifest

    @property
    def batch_size(self) -> int:
        """The number of rows of every forward."""
        return self.runtime.batch_size

    @property
    def device(self) -> str:
        """The device that the model runs on."""
        return self.runtime.device

    @property
    def fingerprint(self) -> str:
        """What byte identity is promised within; across fingerprints it is 1 of 255 per value."""
        return f"{self.runtime.fingerprint}, Pillow {PIL.__version__}"

    def mint(self, addresses: Sequence[Address]) -> NDArray[np.uint8]:
        """Return the pixels of these addresses, in their order.

        Args: addresses of this model, labels resolved (`Manifest.addresses`); any number.
        Returns: uint8 (n, H, W, C).
        """
        z_dim = self.manifest.latents.z_dim
        z = np.zeros((len(addresses), z_dim), np.float32)
        for row, a in enumerate(addresses):
            z[row] = draw_latent(a.seed, a.index, z_dim) * np.float32(a.psi)
        return self.render(z, np.array([a.label or 0 for a in addresses], np.int64))

    def render(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of latents, also of those that have no address, such as a mixture of two.

        Args: z, float32 (n, z_dim); labels, int64 (n,), ignored by a model without labels.
        Returns: uint8 (n, H, W, C).
        """
        shape = self.manifest.image
        pixels = np.empty((len(z), shape.height, shape.width, shape.channels), np.uint8)
        for start in range(0, len(z), self.batch_size):
            rows = slice(start, start + self.batch_size)
            pixels[rows] = self._run_padded(z[rows], labels[rows])
        return pixels

    def _run_padded(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Fill up at most one batch with zeros and run it."""
        padded_z = np.zeros((self.batch_size, z.shape[1]), np.float32)
        padded_labels = np.zeros(self.batch_size, np.int64)
        padded_z[: len(z)] = z
        padded_labels[: len(z)] = labels
        return self.runtime.run(padded_z, padded_labels)[: len(z)]
