"""Read what stands beside the pixels of a PNG, JPEG or WebP file, without decoding them.

A file is walked by its own parts, so that a forged one costs no more time and memory than its size. Not here: what
the texts mean (models.marks).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple, TypeVar

from models import png

T = TypeVar("T")
Format = Literal["PNG", "JPEG", "WEBP"]
# As Pillow's limit of a text in a PNG.
MAX_TEXT_BYTES = 1 << 20
# A file of more parts than this is refused: reading each costs time.
MAX_PARTS = 10_000
# Each scan of a progressive JPEG is a pass over the whole picture; encoders write ten or so.
MAX_SCANS = 100
_CUT_SHORT = "is cut short or damaged"
# TIFF 6.0 and EXIF 2.32: the tags of the EXIF directory and of the comment.
_EXIF_TAG = 0x8769
_USER_COMMENT_TAG = 0x9286
# JPEG (ITU-T T.81, table B.1): C0 to CF but these three start a frame.
_NO_FRAME = (0xC4, 0xC8, 0xCC)
_APP0, _APP1, _APP11, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xEB, 0xEE, 0xEF, 0xFE
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_EXIF_HEADER = b"Exif\0\0"
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
# C2PA 2.2, appendix A.3: what holds Content Credentials in a PNG, a WebP and a JPEG file.
_PNG_CREDENTIALS, _WEBP_CREDENTIALS, _JUMBF_HEADER = b"caBX", b"C2PA", b"JP"


class PictureFile(NamedTuple):
    """What a file says beside its pixels.

    Attributes:
        format: PNG, JPEG or WEBP.
        width, height: in pixels, as the file claims them.
        is_animated: whether there is more than one picture in it.
        texts: of a PNG, by their keys; the first one of each key that was asked for.
        exif: the EXIF block, from its TIFF header on; empty if there is none.
        xmp: the XMP packet; empty if there is none.
        essence: the file without what decoders do not need.
    """

    format: Format
    width: int
    height: int
    is_animated: bool
    texts: dict[str, str]
    exif: bytes
    xmp: bytes
    essence: bytes


def read_picture_file(data: bytes, text_keys: tuple[str, ...] = ()) -> PictureFile:
    """Read a file.

    Args: text_keys: of the texts of a PNG that are wanted.
    Raises: ValueError saying what is wrong.
    """
    try:
        if data.startswith(png.SIGNATURE):
            return _read_png(data, text_keys)
        if data.startswith(b"\xff\xd8\xff"):
            return _read_jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
    except (struct.error, IndexError, zlib.error):
        raise ValueError(_CUT_SHORT) from None
    raise ValueError("is no PNG, JPEG or WebP file")


def _read_png(data: bytes, text_keys: tuple[str, ...]) -> PictureFile:
    chunks = list(_limited(_iterate_png_chunks(data)))
    first_kind, header = chunks[0]
    if first_kind != b"IHDR" or chunks[-1][0] != b"IEND":
        raise ValueError(_CUT_SHORT)
    width, height = struct.unpack_from(">II", header)
    texts: dict[str, str] = {}
    wanted = {png.XMP_KEY, *text_keys}
    for kind, body in chunks:
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            key = body.partition(b"\0")[0].decode("latin-1")
            if key in wanted and key not in texts:
                texts[key] = png.read_text(kind, body, MAX_TEXT_BYTES)
    kinds = [kind for kind, _ in chunks]
    needed = [png.make_chunk(kind, body) for kind, body in chunks if kind in png.PIXEL_CHUNKS]
    exif = next((body for kind, body in chunks if kind == b"eXIf"), b"")
    xmp = texts.pop(png.XMP_KEY, "").encode()
    return PictureFile("PNG", width, height, b"acTL" in kinds, texts, exif, xmp, png.SIGNATURE + b"".join(needed))


def _iterate_png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, kind = len(png.SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        # With its checksum.
        yield kind, _take(data, at + 8, length + 4)[:-4]
        at += 12 + length


def _read_jpeg(data: bytes) -> PictureFile:
    exif = xmp = b""
    size: tuple[int, int] | None = None
    needed = [data[:2]]
    end = 2
    for kind, start, end in _limited(_iterate_jpeg_segments(data)):
        body = data[start + 4 : end]
        if kind == _APP1 and body.startswith(_EXIF_HEADER):
            exif = exif or body.removeprefix(_EXIF_HEADER)
        elif kind == _APP1 and body.startswith(_XMP_HEADER):
            xmp = xmp or body.removeprefix(_XMP_HEADER)
        elif 0xC0 <= kind <= 0xCF and kind not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", body, 1)
            size = size or (width, height)
        # JFIF's and Adobe's segments say how the colours are stored.
        if not (_APP0 < kind <= _APP15 and kind != _APP14) and kind != _COMMENT:
            needed.append(data[start:end])
    if size is None:
        raise ValueError(_CUT_SHORT)
    scans = data[end:]
    if len(re.findall(rb"\xff\xda", scans)) > MAX_SCANS:
        raise ValueError(f"has more than {MAX_SCANS} scans")
    return PictureFile("JPEG", *size, False, {}, exif, xmp, b"".join([*needed, scans]))


def _iterate_jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the kind, start and end of each segment before the first scan."""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError(_CUT_SHORT)
        # Any number of fill bytes may stand before a marker.
        while data[at + 1] == 0xFF:
            at += 1
        kind = data[at + 1]
        if kind in (_START_OF_SCAN, _END_OF_IMAGE):
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise ValueError(_CUT_SHORT)
        yield kind, at, end
        at = end


def _read_webp(data: bytes) -> PictureFile:
    chunks: dict[bytes, bytes] = {}
    for kind, body in _limited(_iterate_webp_chunks(data)):
        chunks.setdefault(kind, body)
    if b"VP8X" in chunks:
        width, height = (int.from_bytes(chunks[b"VP8X"][at : at + 3], "little") + 1 for at in (4, 7))
    elif b"VP8L" in chunks:
        (bits,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif b"VP8 " in chunks:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", chunks[b"VP8 "], 6))
    else:
        raise ValueError(_CUT_SHORT)
    is_animated = b"ANIM" in chunks or b"ANMF" in chunks
    exif, xmp = chunks.get(b"EXIF", b"").removeprefix(_EXIF_HEADER), chunks.get(b"XMP ", b"")
    return PictureFile("WEBP", width, height, is_animated, {}, exif, xmp, data)


def _iterate_webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, _take(data, at + 8, length)
        at += 8 + length + length % 2


def _take(data: bytes, start: int, length: int) -> bytes:
    if start + length > len(data):
        raise ValueError(_CUT_SHORT)
    return data[start : start + length]


def _limited(parts: Iterator[T]) -> Iterator[T]:
    for count, part in enumerate(parts):
        if count >= MAX_PARTS:
            raise ValueError(f"has more than {MAX_PARTS} parts")
        yield part


def find_credentials(data: bytes) -> list[tuple[int, int]]:
    """Return start and end of each part of a file that holds Content Credentials (C2PA), in order.

    Raises: ValueError saying what is wrong with the file.
    """
    try:
        if data.startswith(png.SIGNATURE):
            sizes = ((kind, 12 + len(body)) for kind, body in _limited(_iterate_png_chunks(data)))
            return _find_spans(sizes, len(png.SIGNATURE), _PNG_CREDENTIALS)
        if data[:4] == b"RIFF":
            sizes = ((kind, 8 + len(body) + len(body) % 2) for kind, body in _limited(_iterate_webp_chunks(data)))
            return _find_spans(sizes, 12, _WEBP_CREDENTIALS)
        segments = _limited(_iterate_jpeg_segments(data))
        return [(a, b) for kind, a, b in segments if kind == _APP11 and data.startswith(_JUMBF_HEADER, a + 4)]
    except (struct.error, IndexError):
        raise ValueError(_CUT_SHORT) from None


def _find_spans(sizes: Iterator[tuple[bytes, int]], start: int, wanted: bytes) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for kind, size in sizes:
        if kind == wanted:
            spans.append((start, start + size))
        start += size
    return spans


def remove_credentials(data: bytes) -> bytes:
    """Return a file without its Content Credentials: byte for byte what it was before it was signed.

    Raises: ValueError saying what is wrong with the file.
    """
    spans = find_credentials(data)
    if not spans:
        return data
    bare = b"".join(data[end:start] for (_, end), (start, _) in pairwise([(0, 0), *spans, (len(data), 0)]))
    # A RIFF file begins with its size.
    return b"RIFF" + struct.pack("<I", len(bare) - 8) + bare[8:] if bare.startswith(b"RIFF") else bare


def read_user_comment(exif: bytes) -> bytes:
    """Return the bytes of UserComment in an EXIF block; empty if it has none or is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return b""
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        for tag in (_EXIF_TAG, _USER_COMMENT_TAG):
            entry = _find_entry(exif, order, directory, tag)
            if entry is None:
                return b""
            length, directory = entry
    except struct.error:
        return b""
    return exif[directory : directory + length]


def _find_entry(exif: bytes, order: str, directory: int, tag: int) -> tuple[int, int] | None:
    """Return the count and the value or offset of a directory's entry."""
    (num_entries,) = struct.unpack_from(f"{order}H", exif, directory)
    for k in range(num_entries):
        entry_tag, _, count, value = struct.unpack_from(f"{order}HHII", exif, directory + 2 + 12 * k)
        if entry_tag == tag:
            return count, value
    return None
