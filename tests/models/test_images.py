"""Pixels, picture files and the marks that every file carries."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, JpegImagePlugin

from models import images
from models.address import Address
from models.errors import FileError, InputError
from models.images import (
    EXTENSIONS,
    MEDIA_TYPES,
    MediaType,
    class_grid_columns,
    encode,
    encode_one_or_grid,
    grid,
    has_class_columns,
)
from models.marks import read_address

ADDRESS = str(Address("faces", "1.0.0", 7, 2**53 - 1, 3, 0.7))
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
LOSSLESS: tuple[MediaType, ...] = ("image/png", "image/webp")


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


# Grids


def test_a_grid_goes_row_by_row_and_its_last_row_ends_in_black() -> None:
    pixels = np.maximum(noise(5, 2, 3, 1), np.uint8(1))
    made = grid(pixels, 3)
    assert made.shape == (4, 9, 1)
    for k, image in enumerate(pixels):
        top, left = k // 3 * 2, k % 3 * 3
        assert (made[top : top + 2, left : left + 3] == image).all()
    assert not made[2:, 6:].any()


def test_a_grid_is_no_wider_than_its_images() -> None:
    assert grid(noise(2, 4, 4, 3), 10).shape == (4, 8, 3)
    assert (grid(noise(1, 4, 4, 3), 1) == noise(1, 4, 4, 3)[0]).all()


# Picture files


@pytest.mark.parametrize("media_type", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 3])
def test_png_and_webp_keep_every_pixel(media_type: MediaType, channels: int) -> None:
    pixels = noise(13, 9, channels)
    picture = decoded(encode(pixels, media_type, ADDRESS))
    back = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(13, 9, channels)
    assert (back == pixels).all()


def test_grey_is_stored_as_grey() -> None:
    assert decoded(encode(noise(8, 8, 1), "image/png", ADDRESS)).mode == "L"
    assert decoded(encode(noise(8, 8, 1), "image/jpeg", ADDRESS)).mode == "L"
    assert decoded(encode(noise(8, 8, 3), "image/png", ADDRESS)).mode == "RGB"


def test_jpeg_is_close_and_has_full_colour_resolution() -> None:
    # Red and blue alternate by pixel: subsampled colour would mix them.
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[::2, :, 0] = pixels[1::2, :, 2] = 255
    picture = decoded(encode(pixels, "image/jpeg", ADDRESS))
    assert JpegImagePlugin.get_sampling(picture) == 0
    assert np.abs(np.asarray(picture).astype(int) - pixels).mean() < 4


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_the_bytes_are_what_the_media_type_says(media_type: MediaType) -> None:
    picture = decoded(encode(noise(8, 8, 3), media_type, ADDRESS))
    assert Image.MIME[picture.format or ""] == media_type
    assert media_type in EXTENSIONS.values()


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_equal_pixels_and_address_give_equal_bytes_at_any_time(
    media_type: MediaType, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode(noise(8, 8, channels), media_type, ADDRESS)
    monkeypatch.setattr("time.time", lambda: 4e9)
    strided = np.repeat(noise(8, 8, channels), 2, axis=1)[:, ::2]
    assert encode(strided, media_type, ADDRESS) == first
    assert encode(noise(8, 8, channels), media_type, ADDRESS[:-1] + "8") != first


def png_chunks(data: bytes) -> list[bytes]:
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append(data[at + 4 : at + 8])
        at += 12 + length
    return chunks


def test_a_png_holds_pixels_and_marks_and_no_timestamp() -> None:
    assert set(png_chunks(encode(noise(8, 8, 3), "image/png", ADDRESS))) == {
        b"IHDR",
        b"tEXt",
        b"iTXt",
        b"IDAT",
        b"IEND",
    }


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/webp"])
def test_exif_holds_the_address_and_no_timestamp(media_type: MediaType) -> None:
    exif = decoded(encode(noise(8, 8, 3), media_type, ADDRESS)).getexif()
    assert set(exif) == {ExifTags.IFD.Exif}
    assert dict(exif.get_ifd(ExifTags.IFD.Exif)) == {ExifTags.Base.UserComment: b"ASCII\0\0\0" + ADDRESS.encode()}


# Marks


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_file_says_in_xmp_that_it_is_synthetic(media_type: MediaType, channels: int) -> None:
    data = encode(noise(8, 8, channels), media_type, ADDRESS)
    xmp = decoded(data).info["xmp"]
    packet = xmp if isinstance(xmp, bytes) else xmp.encode()
    assert packet in data
    tree = ET.fromstring(packet.decode().split("?>", 1)[1].rsplit("<?", 1)[0])
    (description,) = tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.attrib["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"] == TRAINED


def test_the_xmp_is_where_readers_look_for_it() -> None:
    pixels = noise(8, 8, 3)
    assert b"iTXtXML:com.adobe.xmp\0\0\0\0\0<?xpacket" in encode(pixels, "image/png", ADDRESS)
    assert b"http://ns.adobe.com/xap/1.0/\0<?xpacket" in encode(pixels, "image/jpeg", ADDRESS)
    assert b"XMP " in encode(pixels, "image/webp", ADDRESS)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_address_can_be_read_back(media_type: MediaType, channels: int) -> None:
    data = encode(noise(8, 8, channels), media_type, ADDRESS)
    assert read_address(data) == ADDRESS
    assert str(Address.parse(read_address(data))) == ADDRESS


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_one_image_is_itself_and_more_are_a_grid_with_an_address_a_line(media_type: MediaType) -> None:
    pixels = noise(5, 4, 6, 1)
    addresses = [f"digits/1.0.0/7/{k}?label=3" for k in range(5)]
    assert encode_one_or_grid(pixels[:1], media_type, addresses[:1]) == encode(pixels[0], media_type, addresses[0])
    data = encode_one_or_grid(pixels, media_type, addresses)
    assert decoded(data).size == (18, 8)
    assert read_address(data).split("\n") == addresses
    if media_type in LOSSLESS:
        back = np.asarray(decoded(data).convert("L"))
        assert (back[..., None] == grid(pixels, 3)).all()


@pytest.mark.parametrize(
    "media_type",
    [
        "image/png",
        pytest.param("image/jpeg"),
        "image/webp",
    ],
)
def test_a_grid_as_large_as_a_request_allows_carries_its_addresses_or_is_refused(media_type: MediaType) -> None:
    """Settings.max_n is 1024 by default; EXIF in a JPEG ends at 64 KiB."""
    addresses = [str(Address("digits", "1.0.0", 2**53 - 1, 2**53 - 1 - k, 3, 0.75)) for k in range(1024)]
    with contextlib.suppress(InputError):
        assert read_address(encode_one_or_grid(noise(1024, 4, 4, 1), media_type, addresses)).split("\n") == addresses


# Foreign and damaged files


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_without_an_address_is_refused(file_format: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(8, 8, 3)).save(buffer, file_format)
    with pytest.raises(FileError, match=r"^photo\.x: carries no address"):
        read_address(buffer.getvalue(), "photo.x")


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(FileError, match=r"^file\.png: is not a readable picture"):
        read_address(data, "file.png")


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_file_cut_short_is_refused_or_still_has_its_address(media_type: MediaType) -> None:
    data = encode(noise(8, 8, 3), media_type, ADDRESS)
    for length in range(0, len(data), 3):
        with contextlib.suppress(FileError):
            assert read_address(data[:length]) == ADDRESS


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_damaged_file_is_refused_and_nothing_else_happens(media_type: MediaType) -> None:
    data = bytearray(encode(noise(4, 4, 3), media_type, ADDRESS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for at in range(len(data)):
            for flip in (0x01, 0x80, 0xFF):
                data[at] ^= flip
                with contextlib.suppress(FileError):
                    read_address(bytes(data))
                data[at] ^= flip


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_picture_that_claims_a_monstrous_size_is_refused() -> None:
    with pytest.raises(FileError):
        read_address(png_of_size(40_000, 40_000))


@pytest.mark.parametrize(
    ("num_classes", "columns"), [(0, 10), (1, 10), (2, 10), (3, 9), (6, 6), (10, 10), (15, 15), (20, 20), (21, 10)]
)
def test_a_class_grid_has_whole_cycles_of_few_classes(num_classes: int, columns: int) -> None:
    assert class_grid_columns(num_classes) == columns
    assert has_class_columns(num_classes) == (2 <= num_classes <= 20)


def test_a_picture_for_the_eye_has_gaps_and_enlarges_small_images_by_a_whole_factor() -> None:
    pixels = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(28, axis=1).repeat(28, axis=2)
    shown = images.enlarged_grid(pixels, 3)
    assert shown.shape == (112, 3 * 112 + 2 * images.GAP_PIXELS, 1)
    assert [int(shown[5, 5 + k * (112 + images.GAP_PIXELS), 0]) for k in range(3)] == [0, 1, 2]
    assert set(shown[:, 112 : 112 + images.GAP_PIXELS].ravel().tolist()) == {images.GAP_GREY}
    assert images.enlarged_grid(np.zeros((2, 128, 64, 3), np.uint8), 2).shape == (128, 128 + images.GAP_PIXELS, 3)
