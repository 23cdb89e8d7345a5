"""Encode pixels as PNG, JPEG or WebP files with two marks.

The marks are the address, and that the image is synthetic (IPTC DigitalSourceType in XMP). Files have no timestamps,
so equal pixels and addresses give equal bytes. `models.marks` reads them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import png
from models.errors import InputError

MediaType = Literal["image/png", "image/jpeg", "image/webp"]
MEDIA_TYPES: tuple[MediaType, ...] = get_args(MediaType)
EXTENSIONS: dict[str, MediaType] = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
ADDRESS_KEY = "ganmint:address"
# A grid of samples.
GRID_COLUMNS = 10
GRID_ROWS = 8
# Of pictures for the eye: the least side of an image in them, and the gaps between images.
TILE_PIXELS = 96
GAP_PIXELS = 4
GAP_GREY = 128
# With more classes than this, one column per class would make the grid too wide.
MAX_CLASS_COLUMNS = 20

# IPTC Photo Metadata Standard 2025.1, "Digital Source Type"; NewsCodes digitalsourcetype.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
_XMP_CHUNK = png.make_xmp_chunk(_XMP)
_EXIF_IFD = 0x8769
_USER_COMMENT = 0x9286
# EXIF 2.32, UserComment: eight bytes name the character code.
ASCII_CODE = b"ASCII\0\0\0"


def grid(pixels: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Put images side by side, row by row, without gaps; the last row is filled up with black.

    Args: pixels, uint8 (N, H, W, C); columns, at least 1.
    Returns: uint8 (rows * H, columns * W, C).
    """
    count, height, width, channels = pixels.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    canvas = np.zeros((rows * columns, height, width, channels), np.uint8)
    canvas[:count] = pixels
    tiles = canvas.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(tiles.reshape(rows * height, columns * width, channels))


def enlarged_grid(pixels: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Put images side by side for the eye: small ones enlarged by a whole factor, grey gaps between them.

    Args: as for `grid`.
    Returns: uint8 (height, width, C); the longer side of each image has `TILE_PIXELS` or more.
    """
    factor = max(1, -(-TILE_PIXELS // max(pixels.shape[1:3])))
    tiles = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    framed = np.pad(tiles, ((0, 0), (0, GAP_PIXELS), (0, GAP_PIXELS), (0, 0)), constant_values=GAP_GREY)
    return np.ascontiguousarray(grid(framed, columns)[:-GAP_PIXELS, :-GAP_PIXELS])


def has_class_columns(num_classes: int) -> bool:
    """Tell whether a grid of samples shows one class per column."""
    return 2 <= num_classes <= MAX_CLASS_COLUMNS


def class_grid_columns(num_classes: int) -> int:
    """Return the columns of a grid of samples whose labels cycle through the classes row by row.

    Returns: a whole multiple of `num_classes` if classes are few, so that each column shows one class; else ten.
    """
    return num_classes * max(1, GRID_COLUMNS // num_classes) if has_class_columns(num_classes) else GRID_COLUMNS


def to_picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return uint8 (H, W, 1) or (H, W, 3) as a picture of mode "L" or "RGB"."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def encode(pixels: NDArray[np.uint8], media_type: MediaType, address: str = "") -> bytes:
    """Encode one image, or a grid of images, with its marks.

    Args:
        pixels: uint8 (H, W, 1) grey or (H, W, 3) RGB.
        media_type: PNG and WebP are lossless; JPEG has quality 95 without chroma subsampling.
        address: of the image; for a grid, one address per line; "" for a PNG that has none.
    Returns: the file's bytes; equal for equal arguments.
    """
    if media_type == "image/png":
        mark = png.make_text_chunk(ADDRESS_KEY, address) if address else b""
        return png.encode_png(pixels, mark + _XMP_CHUNK)
    picture = to_picture(pixels)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = ASCII_CODE + address.encode("ascii")
    if media_type == "image/jpeg":
        # A JPEG segment holds 64 KiB; the rest of the EXIF takes less than 200 bytes.
        if len(address) > 65_000:
            raise InputError("a JPEG has no room for so many addresses; ask for fewer images, PNG or WebP", "n")
        picture.save(buffer, "JPEG", quality=95, subsampling=0, exif=exif.tobytes(), xmp=_XMP.encode())
    else:
        picture.save(buffer, "WEBP", lossless=True, exact=True, exif=exif.tobytes(), xmp=_XMP.encode())
    return buffer.getvalue()


def encode_animation(frames: Sequence[NDArray[np.uint8]], durations_ms: Sequence[int]) -> bytes:
    """Encode an endlessly repeated WebP animation with the synthetic mark and without an address.

    Args:
        frames: uint8 (H, W, 3), all of one size, at least one.
        durations_ms: of each frame.
    """
    pictures = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    options = {"duration": list(durations_ms), "loop": 0, "quality": 80, "xmp": _XMP.encode()}
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:], **options)
    return buffer.getvalue()


def encode_one_or_grid(pixels: NDArray[np.uint8], media_type: MediaType, addresses: Sequence[str]) -> bytes:
    """Encode all images as one picture: a single image as it is, several as a grid that is nearly a square.

    Args: pixels, uint8 (N, H, W, C), one address each.
    """
    if len(addresses) == 1:
        return encode(pixels[0], media_type, addresses[0])
    return encode(grid(pixels, math.ceil(math.sqrt(len(addresses)))), media_type, "\n".join(addresses))
