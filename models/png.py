"""Write PNG files of 8-bit grey and RGB pixels, several times faster than Pillow; equal arguments give equal bytes.

Their text chunks are written and read here. Not here: what the texts say (models.images, models.marks).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

# Higher levels take longer for few bytes. ISA-L would be faster, but it compressed one of some ten thousand equal
# pictures in another way.
LEVEL = 1
# Longer texts are compressed.
MAX_PLAIN_TEXT = 200
SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEY = "XML:com.adobe.xmp"
# What a decoder needs: header, palette, transparency, pixels, end.
PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# PNG, third edition, section 11.2.1: types of colour; section 9.2: filters.
_GREY = 0
_RGB = 2
_NONE = 0
_UP = 2


def encode_png(pixels: NDArray[np.uint8], chunks: bytes = b"") -> bytes:
    """Encode one picture.

    Args:
        pixels: uint8 (H, W, 1) grey or (H, W, 3) RGB.
        chunks: finished chunks between header and pixels, such as `make_text_chunk` returns.
    Returns: the file's bytes.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _GREY if channels == 1 else _RGB, 0, 0, 0)
    data = zlib.compress(_filter_rows(pixels), LEVEL)
    return b"".join([SIGNATURE, make_chunk(b"IHDR", header), chunks, make_chunk(b"IDAT", data), _END])


def make_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk: its length, its kind of four letters, its body and their checksum (PNG, section 5.3)."""
    return b"".join([struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))])


def make_text_chunk(key: str, text: str) -> bytes:
    """Return a tEXt chunk, or a zTXt chunk where the text is long (PNG, section 11.3.3).

    Args: key, 1 to 79 characters; key and text, of Latin-1.
    """
    if len(text) > MAX_PLAIN_TEXT:
        body = b"\0\0" + zlib.compress(text.encode("latin-1"), LEVEL)
        return make_chunk(b"zTXt", key.encode("latin-1") + body)
    return make_chunk(b"tEXt", f"{key}\0{text}".encode("latin-1"))


def make_xmp_chunk(packet: str) -> bytes:
    """Return an iTXt chunk with an XMP packet (XMP specification part 3, section 1.1.5)."""
    # Not compressed, without a language and a translated key.
    return make_chunk(b"iTXt", XMP_KEY.encode() + b"\0\0\0\0\0" + packet.encode())


def read_text(kind: bytes, body: bytes, max_bytes: int) -> str:
    """Return the text of a tEXt, zTXt or iTXt chunk (PNG, section 11.3.3).

    Raises: ValueError when it has more than `max_bytes`; zlib.error, IndexError when it is damaged.
    """
    text = body.partition(b"\0")[2]
    is_compressed = kind == b"zTXt"
    if kind == b"iTXt":
        is_compressed = text[0] == 1
        # Behind the two flags: the language and the translated key.
        text = text[2:].split(b"\0", 2)[2]
    elif is_compressed:
        text = text[1:]
    if is_compressed:
        text = zlib.decompressobj().decompress(text, max_bytes + 1)
    if len(text) > max_bytes:
        raise ValueError(f"has a text of more than {max_bytes} bytes")
    return text.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace")


def _filter_rows(pixels: NDArray[np.uint8]) -> bytes:
    """Return the rows, each behind its filter: none for grey, the difference to the row above for RGB."""
    height, width, channels = pixels.shape
    samples = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    if channels == 1:
        rows[:, 0] = _NONE
        rows[:, 1:] = samples
    else:
        rows[:, 0] = _UP
        rows[0, 1:] = samples[0]
        np.subtract(samples[1:], samples[:-1], out=rows[1:, 1:])
    return rows.tobytes()


_END = make_chunk(b"IEND", b"")
