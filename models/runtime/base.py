"""What a runtime is: the one thing that turns latents into pixels on one device."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """Runs one generator. Not for two threads at once."""

    @property
    def name(self) -> str:
        """`onnx` or `torchscript`."""

    @property
    def device(self) -> str:
        """The device it computes on: `cpu`, `cuda` or `cuda:N`."""

    @property
    def batch_size(self) -> int:
        """The most rows of a run; where `needs_padding`, the number of rows of every run."""

    @property
    def needs_padding(self) -> bool:
        """Whether the bits of an image depend on the size of its batch, so that every batch must be full."""

    @property
    def fingerprint(self) -> str:
        """What the last bits of its output depend on: versions, kind of processor, and the batch size if it matters."""

    def run(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool = False
    ) -> NDArray[np.uint8]:
        """Return the images of one batch.

        Args:
            z: float32 (n, z_dim), n = batch_size where padding is needed, else 1 .. batch_size.
            class_weights: float32 (n, num_classes); a one-hot row is one class, others mix classes. A generator
                without classes ignores them.
            use_all_cores: whether other threads may be used, if that changes no bit and saves time.
        Returns: uint8 (n, H, W, C), valid until the next run.
        Raises: ArtifactError when the images do not have the manifest's shape.
        """
