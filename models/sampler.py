"""From addresses to pixels.

Knows: that every forward runs at exactly the manifest's batch size for the device class, padded, on
one torch thread, in float32 without TF32, because a convolution's last bits depend on these. Does
not know: files, queues, requests; nor what is inside the generator.
"""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import images
from models.address import Address
from models.cuda_graph import CudaGraph
from models.errors import ArtifactError, InputError
from models.latents import draw_latent
from models.manifest import DeviceClass, Manifest

THREADS = 1
Generator = Callable[[Tensor, Tensor], Tensor]


def resolve_device(name: str) -> str:
    """A torch device name that works here: `auto` is cuda where there is one, else cpu.

    Raises: InputError.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", name):
        raise InputError(f"{name!r} cannot be used: it must be auto, cpu, cuda or cuda:N", "device")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{name!r} cannot be used: {str(error).splitlines()[0]}", "device") from None
    return name


class Sampler:
    """Mints the pixels of one model on one device. Not for two threads at once.

    Args:
        generator: (z float32 (B, z_dim), label int64 (B,)) -> float32 (B, C, H, W), on `device`.
        manifest: the model's card.
        device: a torch device name.
        batch_size: overrides the manifest's, for measuring only.
    """

    def __init__(
        self, generator: Generator, manifest: Manifest, device: str = "cpu", batch_size: int | None = None
    ) -> None:
        self.manifest = manifest
        self.device = torch.device(device)
        device_class: DeviceClass = "cuda" if self.device.type == "cuda" else "cpu"
        self.batch_size = batch_size or manifest.batch_size[device_class]
        self._generator = generator
        self._graph: CudaGraph | None = None

    @property
    def fingerprint(self) -> str:
        """What byte identity is promised within; across fingerprints it is 1 of 255 per value."""
        kind = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        )
        return (
            f"torch {torch.__version__}, {kind}, {THREADS} thread, float32, "
            f"batch {self.batch_size}, Pillow {PIL.__version__}"
        )

    def mint(self, addresses: Sequence[Address]) -> NDArray[np.uint8]:
        """The pixels of these addresses, in their order.

        Args: addresses of this model, labels resolved (`Manifest.addresses`); any number.
        Returns: uint8 (n, H, W, C).
        """
        z_dim = self.manifest.latents.z_dim
        z = np.zeros((len(addresses), z_dim), np.float32)
        for row, a in enumerate(addresses):
            z[row] = draw_latent(a.seed, a.index, z_dim) * np.float32(a.psi)
        return self.render(z, np.array([a.label or 0 for a in addresses], np.int64))

    def render(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pixels of latents, also of those that have no address, such as between two that have one.

        Args: z, float32 (n, z_dim); labels, int64 (n,), ignored by a model without labels.
        Returns: uint8 (n, H, W, C).
        """
        shape = self.manifest.image
        pixels = np.empty((len(z), shape.height, shape.width, shape.channels), np.uint8)
        with _exact_arithmetic():
            for start in range(0, len(z), self.batch_size):
                part = slice(start, start + self.batch_size)
                pixels[part] = self._forward(z[part], labels[part])
        return pixels

    def _forward(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """At most one batch, padded."""
        padded = np.zeros((self.batch_size, z.shape[1]), np.float32), np.zeros(self.batch_size, np.int64)
        padded[0][: len(z)], padded[1][: len(z)] = z, labels
        with torch.inference_mode():
            if self.device.type != "cuda":
                return self._pixels(*map(torch.from_numpy, padded)).numpy()[: len(z)]
            if self._graph is None:
                self._graph = CudaGraph(self._pixels, self.batch_size, z.shape[1], self.device)
            return self._graph.run(*padded)[: len(z)]

    def _pixels(self, z: Tensor, label: Tensor) -> Tensor:
        """One full batch, uint8 (B, H, W, C), on the device."""
        shape = self.manifest.image
        output = self._generator(z, label)
        expected = (self.batch_size, shape.channels, shape.height, shape.width)
        if output.shape != expected:
            raise ArtifactError(
                self.manifest.name, f"makes images of shape {tuple(output.shape)}, but its card says {expected}"
            )
        return images.to_uint8(output)


@contextlib.contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """One thread and no shortcuts, restored afterwards; costs nothing where it is so already."""
    threads = torch.get_num_threads()
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    if threads != THREADS:
        torch.set_num_threads(THREADS)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        if threads != THREADS:
            torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
