"""From addresses to pixels.

Not here: queues (service.batcher), files (models.images), what computes a batch (models.runtime).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import PIL
from numpy.typing import NDArray

from models.address import Address
from models.latents import draw_latent, mix_latents, unpack_latent
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
        return (
            f"{self.runtime.fingerprint}, NumPy {np.__version__}, Pillow {PIL.__version__}, "
            f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
        )

    def mint(self, addresses: Sequence[Address], use_all_cores: bool = False) -> NDArray[np.uint8]:
        """Return the pixels of these addresses, in their order.

        Args:
            addresses: of this model, labels resolved (`Manifest.addresses`); any number.
            use_all_cores: whether other threads may be used, if that changes no bit.
        Returns: uint8 (n, H, W, C).
        """
        return self._run(*self.draw_inputs(addresses), use_all_cores)

    def draw_inputs(self, addresses: Sequence[Address]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what the runtime is given: z, float32 (n, z_dim), and class weights, float32 (n, num_classes)."""
        z_dim = self.manifest.latents.z_dim
        z = np.zeros((len(addresses), z_dim), np.float32)
        labels = np.array([a.label or 0 for a in addresses], np.int64)
        class_weights = one_hot(labels, len(self.manifest.class_names))
        for row, a in enumerate(addresses):
            z[row] = make_latent(a, z_dim) * np.float32(a.psi)
            if a.tolabel is not None and a.at is not None:
                class_weights[row, a.label] = 1.0 - a.at
                class_weights[row, a.tolabel] = a.at
        return z, class_weights

    def render(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of latents, also of those that have no address, such as a mixture of two.

        Args:
            z: float32 (n, z_dim).
            labels: int64 (n,), ignored by a model without classes.
        Returns: uint8 (n, H, W, C).
        """
        return self._run(z, one_hot(labels, len(self.manifest.class_names)))

    def _run(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool = False
    ) -> NDArray[np.uint8]:
        """Run batch after batch."""
        shape = self.manifest.image
        pixels = np.empty((len(z), shape.height, shape.width, shape.channels), np.uint8)
        for start in range(0, len(z), self.batch_size):
            rows = slice(start, start + self.batch_size)
            if self.runtime.needs_padding:
                pixels[rows] = self._run_padded(z[rows], class_weights[rows])
            else:
                pixels[rows] = self.runtime.run(z[rows], class_weights[rows], use_all_cores)
        return pixels

    def _run_padded(self, z: NDArray[np.float32], class_weights: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Fill up at most one batch, with zeros and with copies of the first class, and run it."""
        num_missing = self.batch_size - len(z)
        padded_z = np.pad(z, ((0, num_missing), (0, 0)))
        padded_weights = np.pad(class_weights, ((0, num_missing), (0, 0)))
        padded_weights[len(z) :, :1] = 1.0
        return self.runtime.run(padded_z, padded_weights)[: len(z)]


def make_latent(address: Address, z_dim: int) -> NDArray[np.float32]:
    """Return z of an address before psi, float32 (z_dim,): drawn or read, mixed, then with single dimensions set."""
    a = address
    z = draw_latent(a.seed, a.index, z_dim) if a.latent is None else unpack_latent(a.latent)
    # A latent that is mixed with itself stays what it is; only the classes are mixed then.
    if a.to is not None and a.at is not None and a.to != a.start:
        z = mix_latents(z, draw_latent(*a.to, z_dim), a.at)
    for k, value in a.z:
        z[k] = value
    return z


def one_hot(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """Return class weights that pick one class each: float32 (n, num_classes)."""
    if not num_classes:
        return np.zeros((len(labels), 0), np.float32)
    return np.eye(num_classes, dtype=np.float32)[labels]
