"""Read image files from a folder or zip: which files are images, and their pixels.

Bilevel and grey files make a grey set if all files are grey; else all become RGB, palettes too. An alpha channel is
dropped if it is opaque, and needs a background if it is not (training.data.fitting). 16-bit grey, float, CMYK and
animations are refused; Pillow itself keeps the upper 8 bits of 16-bit RGB. EXIF rotation is applied.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.errors import DamagedFileError, DataError
from training.data.allocation import allocate
from training.data.dataset import Origins
from training.data.decoding import AS_THEY_ARE, Box, Decoding, Size
from training.data.fitting import find_box, fit_image, is_enlarged, put_on_background

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


class Picture(NamedTuple):
    """One decoded image.

    Attributes:
        pixels: uint8 (H, W, C).
        original: the size of the file's image, upright.
        box: the part of it that was used.
    """

    pixels: NDArray[np.uint8]
    original: Size
    box: Box


class Pictures(NamedTuple):
    """All images of a set.

    Attributes:
        images: uint8 (N, H, W, C).
        rows: int64 (N,), which of the names they are; all, unless damaged ones were skipped.
        origins: where they come from, if they were brought to one size.
        skipped: names of the damaged ones.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    origins: Origins | None
    skipped: tuple[str, ...]


def choose_mode(channels: int, decoding: Decoding) -> str:
    """Return the mode to decode in, "L" or "RGB", from what `read_channels` found."""
    return "L" if channels == 1 and not decoding.is_coloured else "RGB"


def are_grey(source: ImageSource, names: list[str], decoding: Decoding = AS_THEY_ARE) -> bool:
    """Tell by the headers of images whether all of them are grey.

    Raises: DataError for an image.
    """
    found = set()
    for name in names:
        try:
            found.add(read_channels(source, name))
        except DamagedFileError as error:
            _refuse_damaged(error, decoding)
    return found == {1}


def decode_all(source: ImageSource, names: list[str], is_grey: bool, decoding: Decoding = AS_THEY_ARE) -> Pictures:
    """Decode images to one array, grey or RGB.

    Raises: DataError for an image.
    """
    mode = choose_mode(1 if is_grey else 3, decoding)
    images: NDArray[np.uint8] | None = None
    rows: list[int] = []
    boxes = np.empty((len(names), 4), np.int32)
    for k, name in enumerate(names):
        try:
            picture = decode(source, name, mode, decoding)
        except DamagedFileError as error:
            _refuse_damaged(error, decoding)
            continue
        if images is None:
            images = allocate((len(names), *picture.pixels.shape), source.path)
        if picture.pixels.shape != images.shape[1:]:
            raise _size_error(source.path / name, picture.pixels, names[rows[0]], images)
        images[len(rows)], boxes[len(rows)] = picture.pixels, picture.box
        rows.append(k)
    if images is None:
        raise DataError(source.path, f"holds no image that can be read: all {len(names)} are damaged; fetch them again")
    read = set(rows)
    skipped = tuple(name for k, name in enumerate(names) if k not in read)
    return Pictures(images[: len(rows)], np.array(rows, np.int64), _find_origins(names, rows, boxes, decoding), skipped)


def _refuse_damaged(error: DamagedFileError, decoding: Decoding) -> None:
    if not decoding.skip_damaged:
        remedy = "or leave out all that are damaged with --set data.skip_damaged=true"
        raise DamagedFileError(error.path, f"{error.reason}, {remedy}") from None


def _find_origins(names: list[str], rows: list[int], boxes: NDArray[np.int32], decoding: Decoding) -> Origins | None:
    if decoding.size is None:
        return None
    used = boxes[: len(rows)]
    return Origins(tuple(names[k] for k in rows), used, sum(is_enlarged(tuple(box), decoding) for box in used.tolist()))


def _size_error(path: Path, pixels: NDArray[np.uint8], first_name: str, images: NDArray[np.uint8]) -> DataError:
    (height, width), (first_height, first_width) = pixels.shape[:2], images.shape[1:3]
    return DataError(
        path,
        f"is {width}x{height} pixels, but {first_name} is {first_width}x{first_height}; bring all to one size, e.g. "
        "--set data.size=64 (with data.fit=crop, pad or stretch)",
    )


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


def decode(source: ImageSource, name: str, mode: str, decoding: Decoding = AS_THEY_ARE) -> Picture:
    """Decode one image in mode "L" or "RGB".

    Raises: DataError for the image.
    """
    try:
        # Reading to the end makes zipfile check the member's CRC.
        with Image.open(io.BytesIO(read_bytes(source, name)), formats=FORMATS) as image:
            upright: Any = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = _make_opaque(upright, source.path / name, decoding)
            original = Size(*upright.size)
            pixels = np.asarray(fit_image(upright.convert(mode), decoding))
    except DAMAGE_ERRORS as error:
        raise damage_error(source.path / name, error) from None
    return Picture(pixels[..., np.newaxis] if pixels.ndim == 2 else pixels, original, find_box(original, decoding))


def _make_opaque(image: Image.Image, path: Path, decoding: Decoding) -> Image.Image:
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        return image
    if decoding.background is None:
        raise DataError(path, "is partly transparent; name the colour behind it, e.g. --set data.background=white")
    return put_on_background(image, decoding.background)


def read_bytes(source: ImageSource, name: str) -> bytes:
    """Read a file as a whole.

    Raises: DataError for the file.
    """
    try:
        with source.open(name) as file:
            return file.read()
    except DAMAGE_ERRORS as error:
        raise damage_error(source.path / name, error) from None


def damage_error(path: Path, error: BaseException) -> DamagedFileError:
    """Return the error for a file that could not be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    # Pillow names the stream that it was given, which does not help the user.
    reason = "no image of a known format" if "cannot identify" in reason else reason
    return DamagedFileError(path, f"cannot be read ({reason}); replace it or remove it")
