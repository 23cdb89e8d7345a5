"""Read image files from a folder or zip: which files are images, and their pixels.

Bilevel and grey files make a grey set if all files are grey; else all become RGB, palettes too. An alpha channel is
dropped if it is opaque and refused if it is not. 16-bit grey, float, CMYK and animations are refused; Pillow itself
keeps the upper 8 bits of 16-bit RGB. EXIF rotation is applied.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.errors import DataError
from training.data.allocation import allocate

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".webp", ".bmp", ".dib"}
)
REFUSED_SUFFIXES = frozenset({".gif", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".jp2", ".ppm", ".pgm", ".tga"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"RGB", "RGBA", "P", "PA"})
# What Pillow and zipfile were observed to raise on damaged files.
DAMAGE_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


class ImageSource(Protocol):
    """Named files, such as training.data.archive.FileSource; its path is for errors."""

    @property
    def path(self) -> Path: ...

    def open(self, name: str) -> BinaryIO: ...


def suffix_of(name: str) -> str:
    """Return a file's suffix in lower case; "" if it has none, or only a number as in `frame.0001`."""
    suffix = PurePosixPath(name).suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


def is_image(source: ImageSource, name: str) -> bool:
    """Tell whether a file is an image that can be read, by its suffix, or by its first bytes if it has none.

    Raises: DataError for an image of a format that is not supported.
    """
    suffix = suffix_of(name)
    if suffix in REFUSED_SUFFIXES:
        raise DataError(
            source.path / name, f"is a {suffix} image, which is not supported; convert it to .png or remove it"
        )
    return suffix in SUFFIXES or (not suffix and _starts_like_image(source, name))


def _starts_like_image(source: ImageSource, name: str) -> bool:
    try:
        with source.open(name) as file:
            start = file.read(12)
    except DAMAGE_ERRORS:
        return False
    is_bmp = start[:2] == b"BM" and start[6:10] == bytes(4)
    is_webp = start[:4] == b"RIFF" and start[8:] == b"WEBP"
    return start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or is_bmp or is_webp


def are_grey(source: ImageSource, names: list[str]) -> bool:
    """Tell by the headers of images whether all of them are grey.

    Raises: DataError for an image.
    """
    return {read_channels(source, name) for name in names} == {1}


def decode_all(source: ImageSource, names: list[str], mode: str) -> NDArray[np.uint8]:
    """Decode images to one uint8 array (N, H, W, C), in mode "L" or "RGB".

    Raises: DataError for an image.
    """
    first = decode(source, names[0], mode)
    images = allocate((len(names), *first.shape), source.path)
    images[0] = first
    for k, name in enumerate(names[1:], start=1):
        pixels = decode(source, name, mode)
        if pixels.shape != first.shape:
            (height, width), (first_height, first_width) = pixels.shape[:2], first.shape[:2]
            raise DataError(
                source.path / name,
                f"is {width}x{height} pixels, but {names[0]} is {first_width}x{first_height}; make all one size",
            )
        images[k] = pixels
    return images


def read_channels(source: ImageSource, name: str) -> int:
    """Read an image's header and return its channels: 1 for grey, 3 for colour.

    Raises: DataError for the image.
    """
    try:
        with source.open(name) as file, Image.open(file, formats=FORMATS) as image:
            mode = image.mode
            # A JPEG may carry a preview as a second image, which is not an animation.
            frames = getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1
    except DAMAGE_ERRORS as error:
        raise damage_error(source.path / name, error) from None
    if mode not in GREY_MODES | COLOUR_MODES:
        raise DataError(source.path / name, f"has pixels of kind {mode!r}; convert it to 8-bit grey or RGB")
    if frames > 1:
        raise DataError(source.path / name, f"is an animation of {frames} frames; keep one")
    return 1 if mode in GREY_MODES else 3


def decode(source: ImageSource, name: str, mode: str) -> NDArray[np.uint8]:
    """Decode one image to uint8 (H, W, C), in mode "L" or "RGB".

    Raises: DataError for the image.
    """
    try:
        # Reading to the end makes zipfile check the member's CRC.
        with Image.open(io.BytesIO(read_bytes(source, name)), formats=FORMATS) as image:
            upright: Any = ImageOps.exif_transpose(image)
            is_transparent = False
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                is_transparent = upright.getchannel("A").getextrema()[0] < 255
            pixels = np.asarray(upright.convert(mode))
    except DAMAGE_ERRORS as error:
        raise damage_error(source.path / name, error) from None
    if is_transparent:
        raise DataError(source.path / name, "is partly transparent; put it on a background first")
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def read_bytes(source: ImageSource, name: str) -> bytes:
    """Read a file as a whole.

    Raises: DataError for the file.
    """
    try:
        with source.open(name) as file:
            return file.read()
    except DAMAGE_ERRORS as error:
        raise damage_error(source.path / name, error) from None


def damage_error(path: Path, error: BaseException) -> DataError:
    """Return the error for a file that could not be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    # Pillow names the stream that it was given, which does not help the user.
    reason = "no image of a known format" if "cannot identify" in reason else reason
    return DataError(path, f"cannot be read ({reason}); replace it or remove it")
