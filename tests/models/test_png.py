"""PNG files: their exact bytes, their validity, and what Pillow reads back."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import png
from models.address import Address
from models.images import ADDRESS_KEY, encode

ADDRESS = str(Address("faces", "1.0.0", 7, 2**53 - 1, 3, 0.7))
SHAPES = [(1, 1, 1), (1, 1, 3), (1, 70, 3), (70, 1, 1), (28, 28, 1), (64, 64, 3), (512, 512, 3)]


def picture(*shape: int) -> NDArray[np.uint8]:
    """Smooth slopes with some noise, as generated images have."""
    height, width, channels = shape
    rows, columns, planes = np.ogrid[:height, :width, :channels]
    slopes = 3 * rows + 2 * columns + 40 * planes
    noise = np.random.RandomState(0).randint(0, 4, shape)
    return np.asarray((slopes + noise) % 256, np.uint8)


def read_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return (kind, body) of each chunk, its checksum checked, to the end of the file."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length) == (zlib.crc32(kind + body),)
        chunks.append((kind, body))
        position += 12 + length
    assert position == len(data)
    return chunks


@pytest.mark.parametrize("shape", SHAPES)
def test_pillow_reads_every_pixel_back(shape: tuple[int, int, int]) -> None:
    for pixels in (picture(*shape), picture(*shape)[::-1, ::-1], np.full(shape, 255, np.uint8)):
        data = png.encode_png(pixels)
        Image.open(io.BytesIO(data)).verify()
        decoded = Image.open(io.BytesIO(data))
        assert decoded.mode == ("L" if shape[2] == 1 else "RGB")
        assert (np.asarray(decoded).reshape(shape) == pixels).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_is_valid_chunk_by_chunk(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    chunks = read_chunks(encode(picture(*shape), "image/png", ADDRESS))
    assert [kind for kind, _ in chunks] == [b"IHDR", b"tEXt", b"iTXt", b"IDAT", b"IEND"]
    bodies = dict(chunks)
    assert bodies[b"IHDR"] == struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    assert bodies[b"IEND"] == b""
    decompressor = zlib.decompressobj()
    rows = decompressor.decompress(bodies[b"IDAT"])
    assert decompressor.eof and not decompressor.unused_data
    assert len(rows) == height * (1 + width * channels)
    assert set(rows[:: 1 + width * channels]) == {0 if channels == 1 else 2}


@pytest.mark.parametrize(("length", "kind"), [(200, b"tEXt"), (201, b"zTXt")])
def test_a_long_text_is_compressed(length: int, kind: bytes) -> None:
    text = ADDRESS.ljust(length, "0")
    chunk = png.make_text_chunk(ADDRESS_KEY, text)
    assert chunk[4:8] == kind
    data = png.encode_png(picture(4, 4, 1), chunk)
    assert Image.open(io.BytesIO(data)).info[ADDRESS_KEY] == text


# Recorded with zlib 1.2.13.
GOLDEN_SHA256 = {
    (28, 28, 1): "2891400cfbf1a0d1c181401d6b24d7d1cbfafc2fa69aaa6a6238132be72fbde3",
    (64, 64, 3): "8f6fe200e05d3f5440a981b0ecdc713ef9d2f3b06d8d651ffd975e8e1a0eb293",
}


@pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="zlib-ng compresses in another way")
@pytest.mark.parametrize("shape", list(GOLDEN_SHA256))
def test_the_bytes_are_the_recorded_ones(shape: tuple[int, int, int]) -> None:
    data = encode(picture(*shape), "image/png", ADDRESS)
    assert hashlib.sha256(data).hexdigest() == GOLDEN_SHA256[shape]


def test_the_bytes_do_not_depend_on_what_was_encoded_before() -> None:
    first = png.encode_png(picture(64, 64, 3))
    png.encode_png(picture(512, 512, 3))
    assert png.encode_png(picture(64, 64, 3)) == first
    script = (
        "import sys; from tests.models.test_png import picture; from models import png; "
        "sys.stdout.buffer.write(png.encode_png(picture(64, 64, 3)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout == first
