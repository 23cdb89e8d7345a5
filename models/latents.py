"""Latents: the random numbers behind an image, scheme 1.

Knows: how a seed and an index become z, and how a label that the caller left out is drawn. NumPy
only, always on the CPU, one stream per sample, so that a sample never depends on its neighbours.
Does not know: models, batches, devices.

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
    """One bit generator a thread, set to the beginning of a stream: a tenth of the time of making one."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=[0, 1], counter=[0, 0, 0, 0])
        self._fresh: Any = self._bits.state

    def at(self, seed: int, index: int) -> np.random.RandomState:
        self._fresh["state"]["key"] = np.array([seed, 1], np.uint64)
        self._fresh["state"]["counter"] = np.array([0, 0, index, 0], np.uint64)
        self._bits.state = self._fresh
        # A new one each time: it keeps the second half of a pair of normals to itself.
        return np.random.RandomState(self._bits)


_philox = _Philox()


def _stream(seed: int, index: int) -> np.random.RandomState:
    """RandomState(Philox(key=[seed, 1], counter=[0, 0, index, 0])), until the thread's next one."""
    return _philox.at(seed, index)


def draw_latent(seed: int, index: int, z_dim: int) -> NDArray[np.float32]:
    """z of one sample.

    Args:
        seed: 0 .. 2^53 - 1.
        index: 0 .. 2^53 - 1.
        z_dim: length of z, at least 1.
    Returns: float32 (z_dim,), standard normal.
    """
    return _stream(seed, index).standard_normal(z_dim).astype(np.float32)


def draw_label(seed: int, index: int, z_dim: int, labels: int) -> int:
    """The label of a sample whose caller named none: uniform, from the same stream, after z.

    Args: as `latent`; labels is the number of classes, at least 1.
    Returns: 0 .. labels - 1.
    """
    stream = _stream(seed, index)
    stream.standard_normal(z_dim)
    return int(stream.randint(0, labels, dtype=np.int64))
