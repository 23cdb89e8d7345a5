"""The random numbers behind an image: draw them (latent scheme 1), mix them, write them as text.

NumPy only, always on the CPU, one stream per sample, so that a sample never depends on its neighbours.

`RandomState`'s algorithms are frozen by NumPy's NEP 19, and Philox is counter-based, so any index is
reached at once. Golden vectors pin the scheme; a change of anything here is scheme 2, never an edit.
"""

from __future__ import annotations

import base64
import math
import re
import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import InputError

# The largest integer that JSON and JavaScript carry exactly.
MAX_INTEGER = 2**53 - 1
# The largest value of a latent that is not drawn. Drawn ones stay below 9; far larger ones overflow in a network.
MAX_VALUE = 16
# A rest of one character is no whole byte.
_BASE64URL = re.compile(r"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?")


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


def mix_latents(z0: NDArray[np.float32], z1: NDArray[np.float32], t: float) -> NDArray[np.float32]:
    """Return ((1 - t) z0 + t z1) / sqrt((1 - t)^2 + t^2), which stays standard normal.

    A sum of independent normals is normal, and its variance is the sum of the weights' squares: the division makes it 1
    again. So a mixture lies where the generator was trained, and not nearer to the mean, as a plain average would.
    Every operation is correctly rounded in float64, and the result is rounded once: all machines get the same bits.

    Args:
        z0, z1: float32 (z_dim,), of two different streams.
        t: the share of z1, in (0, 1).
    Returns: float32 (z_dim,).
    """
    s = 1.0 - t
    # Products, not powers: pow() is not correctly rounded everywhere.
    norm = math.sqrt(s * s + t * t)
    mixed: NDArray[np.float64] = (s * z0.astype(np.float64) + t * z1.astype(np.float64)) / norm
    return mixed.astype(np.float32)


def pack_latent(values: ArrayLike, field: str = "latent") -> bytes:
    """Return a latent's values as float32, little-endian.

    Args:
        values: (z_dim,) numbers from -16 to 16; rounded to float32.
        field: what they are called in an error.
    Raises: InputError.
    """
    try:
        z = np.asarray(values, np.float64)
    except (ValueError, TypeError):
        raise InputError("must be a list of numbers", field) from None
    if z.ndim != 1 or not z.size:
        raise InputError(f"must be a list of numbers, got the shape {z.shape}", field)
    # Not a number is not in the range either.
    wrong = np.flatnonzero(~(np.abs(z) <= MAX_VALUE))
    if wrong.size:
        k = int(wrong[0])
        raise InputError(f"must be a number from -{MAX_VALUE} to {MAX_VALUE}, got {float(z[k])}", f"{field}[{k}]")
    # Adding 0.0 turns -0.0, another text of the same image, into 0.0.
    return (z + 0.0).astype("<f4").tobytes()


def unpack_latent(latent: bytes) -> NDArray[np.float32]:
    """Return the values that `pack_latent` packed: float32 (z_dim,), which may be written to."""
    return np.frombuffer(latent, "<f4").astype(np.float32)


def encode_latent(latent: bytes) -> str:
    """Return a packed latent as base64url without padding."""
    return base64.urlsafe_b64encode(latent).rstrip(b"=").decode()


def decode_latent(text: str) -> bytes:
    """Return the packed latent that a text stands for.

    Raises: InputError.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if _BASE64URL.fullmatch(text) else b""
    if not data or len(data) % 4 or encode_latent(data) != text:
        message = f"must be float32 values, little-endian, as base64url without padding, got {text[:40]!r}"
        raise InputError(message, "latent")
    if pack_latent(unpack_latent(data)) != data:
        raise InputError("has -0 among its values; write 0", "latent")
    return data
