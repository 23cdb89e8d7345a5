"""Read one picture file at the size and in the colours of a model's images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models.errors import FileError
from models.manifest import ImageShape
from models.picture_file import read_picture_file
from training.data.decoding import Decoding, Size
from training.data.image_files import Picture, decode, read_channels

MAX_PIXELS = 50_000_000
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class _OneFile:
    """A file that was read, as a source of images."""

    path: Path
    data: bytes

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self.data)


def read_picture(path: Path, shape: ImageShape) -> Picture:
    """Read a PNG, JPEG or WebP file: the largest centred part of a model's aspect, brought to its size.

    Transparent pixels are put on white.

    Returns: the picture; its pixels have the given shape.
    Raises: FileError naming the file.
    """
    try:
        data = path.read_bytes()
        file = read_picture_file(data)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise FileError(path, f"is not a readable picture: {error}") from None
    # By its header: nothing of this size is decoded.
    if file.width * file.height > MAX_PIXELS:
        size = f"{file.width}x{file.height}"
        raise FileError(path, f"has {size} pixels, more than {MAX_PIXELS // 10**6} million; make it smaller")
    source = _OneFile(path.parent, data)
    read_channels(source, path.name)
    decoding = Decoding(Size(shape.width, shape.height), background=WHITE)
    return decode(source, path.name, "L" if shape.channels == 1 else "RGB", decoding)


def describe_fitting(picture: Picture) -> str:
    """Say how a picture was brought to its size, such as `640x480 pixels; its central 480x480 averaged to 64x64`."""
    left, top, right, bottom = picture.box
    used, original = Size(right - left, bottom - top), picture.original
    height, width, _ = picture.pixels.shape
    text = f"{original.width}x{original.height} pixels"
    if used == (width, height) == original:
        return text
    part = "all of it" if used == original else f"its central {used.width}x{used.height}"
    if used == (width, height):
        return f"{text}; {part}"
    return f"{text}; {part} {'enlarged' if used < (width, height) else 'averaged down'} to {width}x{height}"
