"""How two pictures differ: decoded alike, image by image of a grid, as a number and as a picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import png
from models.errors import FileError
from models.picture_file import read_picture_file

Pixels = NDArray[np.uint8]


def decode(data: bytes, name: str) -> Pixels:
    """Return the pixels of a file, uint8 (height, width, 4) RGBA; grey and palettes become RGB.

    Args: name, of the file, for errors.
    Raises: FileError when the pixels are damaged.
    """
    file = read_picture_file(data)
    try:
        # Pillow warns of damage; what it then returns is compared all the same.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(file.essence), formats=(file.format,)) as picture:
                # Of several headers, decoders take the last.
                if picture.size != (file.width, file.height):
                    raise ValueError("says two different sizes")
                if picture.mode[0] in "FI":
                    raise ValueError("has more than 8 bits a value; no picture of Ganmint has")
                return np.asarray(picture.convert("RGBA"))
    # Pillow reports damage by many kinds of exceptions.
    except Exception as error:
        raise FileError(name, f"is not a readable picture: {error}") from None


def split_grid(picture: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Return the values of each image of a grid: (n, values). The shape is (n, H, W, C) of the images."""
    count, height, width, _ = shape
    tiles = picture.reshape(len(picture) // height, height, -1, width, *picture.shape[2:]).swapaxes(1, 2)
    values: NDArray[Any] = tiles.reshape(tiles.shape[0] * tiles.shape[1], -1)
    return values[:count]


def correlate(a: Pixels, b: Pixels, shape: Sequence[int]) -> float:
    """Return Pearson's correlation of the colours of two pictures, of a grid the median of its images'.

    Where a picture has a single colour, it is 0.
    """
    x, y = (split_grid(picture[..., :3], shape).astype(np.float32) for picture in (a, b))
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    norms = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return float(np.median((x * y).sum(axis=1) / np.maximum(norms, 1.0)))


def paint_difference(stored: Pixels, by_pixel: Pixels) -> Pixels:
    """Paint the picture dark and grey, with its changed pixels in red to yellow: the brighter, the more they differ.

    Args:
        stored: uint8 (height, width, 4).
        by_pixel: the largest difference of each pixel, uint8 (height, width).
    Returns: uint8 (height, width, 3).
    """
    grey = (stored[..., :3].mean(axis=2) / 4).astype(np.uint8)
    painted = np.repeat(grey[..., None], 3, axis=2)
    changed = by_pixel > 0
    # The root shows small differences, too: 1 of 255 is a dark red.
    strength = np.sqrt(by_pixel[changed] / np.float32(255))
    painted[changed] = 0
    painted[changed, 0] = 80 + 175 * strength
    painted[changed, 1] = 230 * np.clip(2 * strength - 1, 0, 1)
    return painted


def encode_difference(difference: Pixels) -> bytes:
    """Return a picture of the differences as PNG; it has no marks, because it shows a foreign picture."""
    return png.encode_png(difference)
