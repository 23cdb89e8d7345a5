"""Draw the random numbers behind an image: latent scheme 1.

NumPy only, always on the CPU, one stream per sample, so that a sample never depends on its neighbours.

`RandomState`'s algorithms are frozen by NumPy's NEP 19, and Philox is counter-based, so any index is
reached at once. Golden vectors pin the scheme; a change of anything here is scheme 2, never an edit.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The largest integer that JSON and JavaScript carry exactly.
MAX_INTEGER = 2**53 - 1


class _Philox(threading.local):
    """One bit generator per thread. Resetting it takes a tenth of the time of making a new one."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=[0, 1], counter=[0, 0, 0, 0])
        self._fresh: Any = self._bits.state

    def at(self, seed: int, index: int) -> np.random.RandomState:
        self._fresh["state"]["key"] = np.array([seed, 1], np.uint64)
        self._fresh["state"]["counter"] = np.array([0, 0, index, 0], np.uint64)
        self._bits.state = self._fresh
        # A new one each time, because it would keep the second half of a pair of normals.
        return np.random.RandomState(self._bits)


_philox = _Philox()


def _stream(seed: int, index: int) -> np.random.RandomState:
    """Return RandomState(Philox(key=[seed, 1], counter=[0, 0, index, 0])), valid until the thread's next call."""
    return _philox.at(seed, index)


def draw_latent(seed: int, index: int, z_dim: int) -> NDArray[np.float32]:
    """Draw z of one sample.

    Args:
        seed: 0 .. 2^53 - 1.
        index: 0 .. 2^53 - 1.
        z_dim: length of z, at least 1.
    Returns: float32 (z_dim,), standard normal.
    """
    return _stream(seed, index).standard_normal(z_dim).astype(np.float32)


def draw_label(seed: int, index: int, z_dim: int, num_classes: int) -> int:
    """Draw the label of a sample whose caller named none: uniform, from the same stream, after z.

    Args:
        seed, index, z_dim: as for `draw_latent`.
        num_classes: at least 1.
    Returns: 0 .. num_classes - 1.
    """
    stream = _stream(seed, index)
    stream.standard_normal(z_dim)
    return int(stream.randint(0, num_classes, dtype=np.int64))
