"""What a runtime is: the one thing that turns latents into pixels on one device."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """Runs one generator. Not for two threads at once."""

    @property
    def device(self) -> str:
        """The device it computes on: `cpu`, `cuda` or `cuda:N`."""

    @property
    def batch_size(self) -> int:
        """The number of rows of every run."""

    @property
    def fingerprint(self) -> str:
        """What the last bits of its output depend on: versions, kind of processor, batch size."""

    def run(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of one full batch.

        Args:
            z: float32 (batch_size, z_dim).
            labels: int64 (batch_size,); a generator without classes ignores them.
        Returns: uint8 (batch_size, H, W, C), valid until the next run.
        Raises: ArtifactError when the images do not have the manifest's shape.
        """
