"""From addresses to pixels.

Not here: queues (service.batcher), files (models.images), what computes a batch (models.runtime).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import PIL
from numpy.typing import NDArray

from models.address import Address
from models.errors import InputError
from models.latent_edits import move_latent
from models.latents import draw_latent, mix_latents, unpack_latent
from models.manifest import Manifest
from models.runtime.base import Runtime
from models.runtime.onnx_levels import GeneratorInput, OnnxLevels


class Sampler:
    """Mints the pixels of one model. Not for two threads at once.

    Args:
        runtime: runs the model's generator.
        manifest: of the model.
        levels: runs it for addresses that edit feature maps; None where no such address is minted.
        directions: float32 (z_dim,) of each direction that the manifest names (`models.directions`).
    """

    def __init__(
        self,
        runtime: Runtime,
        manifest: Manifest,
        levels: OnnxLevels | None = None,
        directions: Mapping[str, NDArray[np.float32]] = MappingProxyType({}),
    ) -> None:
        self.runtime = runtime
        self.manifest = manifest
        self._levels = levels
        self._directions = directions

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
        # Levels are run by onnxruntime, which another runtime does not name.
        levels = self._levels.fingerprint if self._levels and self.runtime.name != "onnx" else ""
        versions = f"NumPy {np.__version__}, Pillow {PIL.__version__}, zlib {zlib.ZLIB_RUNTIME_VERSION}"
        return ", ".join(part for part in (self.runtime.fingerprint, levels, versions) if part)

    def mint(self, addresses: Sequence[Address], use_all_cores: bool = False) -> NDArray[np.uint8]:
        """Return the pixels of these addresses, in their order.

        Args:
            addresses: of this model, labels resolved (`Manifest.addresses`); any number.
            use_all_cores: whether other threads may be used, if that changes no bit.
        Returns: uint8 (n, H, W, C).
        """
        z, class_weights = self.draw_inputs(addresses)
        is_edited = np.array([a.edits_levels for a in addresses], bool)
        if not is_edited.any():
            return self._run(z, class_weights, use_all_cores)
        pixels = np.empty((len(addresses), *self._image_shape), np.uint8)
        pixels[~is_edited] = self._run(z[~is_edited], class_weights[~is_edited], use_all_cores)
        for row in np.flatnonzero(is_edited).tolist():
            pixels[row] = self._run_edited(addresses[row], GeneratorInput(z[row, None], class_weights[row, None]))
        return pixels

    def draw_inputs(self, addresses: Sequence[Address]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what the runtime is given: z, float32 (n, z_dim), and class weights, float32 (n, num_classes)."""
        z_dim = self.manifest.latents.z_dim
        z = np.zeros((len(addresses), z_dim), np.float32)
        labels = np.array([a.label or 0 for a in addresses], np.int64)
        class_weights = one_hot(labels, len(self.manifest.class_names))
        for row, a in enumerate(addresses):
            z[row] = make_latent(a, z_dim, self._directions) * np.float32(a.psi)
            if a.tolabel is not None and a.at is not None:
                class_weights[row, a.label] = 1.0 - a.at
                class_weights[row, a.tolabel] = a.at
        return z, class_weights

    def draw_sources(self, address: Address) -> list[GeneratorInput]:
        """Return what the images are made of that an address pastes from, in the order of its pastes."""
        plain = [
            Address(address.model, address.version, *paste.source, label=paste.label, psi=address.psi)
            for paste in address.paste
        ]
        z, class_weights = self.draw_inputs(plain)
        return [GeneratorInput(z[k, None], class_weights[k, None]) for k in range(len(plain))]

    def render(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of latents, also of those that have no address, such as a mixture of two.

        Args:
            z: float32 (n, z_dim).
            labels: int64 (n,), ignored by a model without classes.
        Returns: uint8 (n, H, W, C).
        """
        return self._run(z, one_hot(labels, len(self.manifest.class_names)))

    @property
    def _image_shape(self) -> tuple[int, int, int]:
        shape = self.manifest.image
        return shape.height, shape.width, shape.channels

    def _run_edited(self, address: Address, image: GeneratorInput) -> NDArray[np.uint8]:
        """Return the image of an address that edits feature maps."""
        if self._levels is None:
            raise InputError("edits feature maps, which this sampler was not made for", "address")
        return self._levels.run(image, list(zip(address.paste, self.draw_sources(address))), address.units)

    def _run(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool = False
    ) -> NDArray[np.uint8]:
        """Run batch after batch."""
        pixels = np.empty((len(z), *self._image_shape), np.uint8)
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


def make_latent(address: Address, z_dim: int, directions: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return z of an address before psi, float32 (z_dim,).

    It is drawn or read, mixed, then single dimensions are set, then it is moved along `directions`.
    """
    a = address
    z = draw_latent(a.seed, a.index, z_dim) if a.latent is None else unpack_latent(a.latent)
    # A latent that is mixed with itself stays what it is; only the classes are mixed then.
    if a.to is not None and a.at is not None and a.to != a.start:
        z = mix_latents(z, draw_latent(*a.to, z_dim), a.at)
    for k, value in a.z:
        z[k] = value
    return move_latent(z, a.directions, directions) if a.directions else z


def one_hot(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """Return class weights that pick one class each: float32 (n, num_classes)."""
    if not num_classes:
        return np.zeros((len(labels), 0), np.float32)
    return np.eye(num_classes, dtype=np.float32)[labels]
