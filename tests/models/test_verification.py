"""Results on pictures of the bundled models: untouched, saved again, changed, with marks moved, forged, damaged."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from models import artifact, images, png, store
from models.address import Address
from models.errors import FileError, InputError, ModelNotFoundError
from models.images import ADDRESS_KEY, MEDIA_TYPES, MediaType
from models.marks import read_address, read_marks
from models.sampler import Sampler
from models.verification import Comparison, Result, Verification, compare, read_claim, resolve, verify

Pixels = NDArray[np.uint8]
MODELS = ("digits", "faces")
FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


@pytest.fixture(scope="module")
def samplers() -> dict[str, Sampler]:
    return {name: artifact.load(store.BUNDLED / name) for name in MODELS}


class Studio:
    """Makes pictures of one model and judges them."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.num_minted = 0

    def addresses(self, n: int = 1, seed: int = 7) -> list[Address]:
        return self.sampler.manifest.addresses(seed, 0, n, "balanced")

    def picture(self, n: int = 1, seed: int = 7) -> Pixels:
        pixels = self.sampler.mint(self.addresses(n, seed))
        return images.grid(pixels, int(np.ceil(np.sqrt(n))))

    def text(self, n: int = 1, seed: int = 7) -> str:
        return "\n".join(map(str, self.addresses(n, seed)))

    def file(self, media_type: MediaType = "image/png", n: int = 1) -> bytes:
        return images.encode(self.picture(n), media_type, self.text(n))

    def mint(self, addresses: list[Address]) -> Pixels:
        self.num_minted += len(addresses)
        manifest = self.sampler.manifest
        if (addresses[0].model, addresses[0].version) != (manifest.name, manifest.version):
            raise ModelNotFoundError("there is no such model")
        return self.sampler.mint(resolve(addresses, manifest))

    def compare(self, data: bytes) -> Comparison:
        return verify(data, self.mint, 1024)

    def judge(self, data: bytes) -> Verification:
        return self.compare(data).verification


@pytest.fixture(params=MODELS)
def studio(request: pytest.FixtureRequest, samplers: dict[str, Sampler]) -> Studio:
    return Studio(samplers[request.param])


@pytest.fixture
def digits(samplers: dict[str, Sampler]) -> Studio:
    return Studio(samplers["digits"])


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def save(picture: Image.Image, media_type: MediaType, text: str, **options: Any) -> bytes:
    """Save with Pillow, with the address where Ganmint puts it."""
    buffer = io.BytesIO()
    if media_type == "image/png":
        info = PngImagePlugin.PngInfo()
        info.add_text(ADDRESS_KEY, text)
        picture.save(buffer, "PNG", pnginfo=info, **options)
    else:
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + text.encode()
        picture.save(buffer, FORMATS[media_type], exif=exif.tobytes(), **options)
    return buffer.getvalue()


def with_pixel(pixels: Pixels, row: int, column: int, value: int) -> Pixels:
    changed = np.array(pixels)
    changed[row, column] = value
    return changed


# Pictures that are what they say


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("n", [1, 7, 9])
def test_an_untouched_file_is_identical(studio: Studio, media_type: MediaType, n: int) -> None:
    comparison = studio.compare(studio.file(media_type, n))
    found = comparison.verification
    assert (found.result, found.is_good, found.is_synthetic) == ("identical", True, True)
    assert found.addresses == tuple(studio.text(n).split("\n"))
    assert (found.changed_pixels, found.box, comparison.difference) == (0, None, None)


def test_a_grid_of_any_number_of_columns_is_identical(digits: Studio) -> None:
    file = (store.BUNDLED / "digits" / "samples.png").read_bytes()
    # Made by an older version on another machine.
    assert digits.judge(file).is_good
    grid = images.grid(digits.sampler.mint(digits.addresses(5)), 2)
    assert digits.judge(images.encode(grid, "image/png", digits.text(5))).result == "identical"


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_file_that_pillow_wrote_anew_has_the_same_pixels(studio: Studio, media_type: MediaType) -> None:
    options: dict[str, dict[str, Any]] = {
        "image/webp": {"lossless": True, "exact": True},
        "image/jpeg": {"quality": 95, "subsampling": 0},
    }
    picture = Image.fromarray(studio.picture().squeeze())
    found = studio.judge(save(picture, media_type, studio.text(), **options.get(media_type, {})))
    assert (found.result, found.is_good, found.is_synthetic) == ("same_pixels", True, False)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_grey_in_another_form_of_png_has_the_same_pixels(digits: Studio, mode: str) -> None:
    picture = Image.fromarray(digits.picture()[..., 0]).convert(mode)
    assert digits.judge(save(picture, "image/png", digits.text())).result == "same_pixels"


def test_a_png_of_16_bits_is_refused(digits: Studio) -> None:
    picture = Image.fromarray(digits.picture()[..., 0].astype(np.uint16) * 257)
    with pytest.raises(FileError, match="more than 8 bits"):
        digits.judge(save(picture, "image/png", digits.text()))


@pytest.mark.parametrize("media_type", ["image/png", "image/webp"])
def test_values_off_by_one_are_close(studio: Studio, media_type: MediaType) -> None:
    pixels = studio.picture()
    nudged = np.where(pixels > 127, pixels - 1, pixels + 1).astype(np.uint8)
    found = studio.judge(images.encode(nudged, media_type, studio.text()))
    assert (found.result, found.is_good, found.max_difference) == ("close", True, 1)


def test_a_jpeg_of_another_processor_is_close(studio: Studio) -> None:
    random = np.random.RandomState(0)
    pixels = studio.picture().astype(np.int16)
    nudged = np.clip(pixels + random.choice([-1, 1], pixels.shape) * (random.rand(*pixels.shape) < 0.1), 0, 255)
    found = studio.judge(images.encode(nudged.astype(np.uint8), "image/jpeg", studio.text()))
    assert found.result == "close" and 0 < found.max_difference <= 16


# Pictures that are not


@pytest.mark.parametrize("media_type", ["image/png", "image/webp"])
def test_one_changed_pixel_is_found(studio: Studio, media_type: MediaType) -> None:
    pixels = studio.picture()
    value = 255 if pixels[5, 9].max() < 128 else 0
    comparison = studio.compare(images.encode(with_pixel(pixels, 5, 9, value), media_type, studio.text()))
    found, worst = comparison.verification, int(np.abs(pixels[5, 9].astype(int) - value).max())
    assert (found.result, found.is_good, found.changed_pixels) == ("altered", False, 1)
    assert (found.box, found.max_difference) == ((9, 5, 10, 6), worst)
    assert f"1 of {pixels.shape[0] * pixels.shape[1]} pixels" in found.detail and f"by up to {worst}" in found.detail
    assert comparison.difference is not None and comparison.difference.shape == (*pixels.shape[:2], 3)
    is_red = comparison.difference[..., 0] > comparison.difference[..., 2]
    assert is_red[5, 9] and is_red.sum() == 1


@pytest.mark.parametrize("quality", [10, 50, 85])
def test_a_jpeg_that_was_saved_again_is_altered(studio: Studio, quality: int) -> None:
    found = studio.judge(save(opened(studio.file("image/jpeg")), "image/jpeg", studio.text(), quality=quality))
    assert found.result == "altered" and found.max_difference > 16


def test_a_lossy_webp_is_altered(studio: Studio) -> None:
    picture = Image.fromarray(studio.picture().squeeze())
    assert studio.judge(save(picture, "image/webp", studio.text(), quality=80)).result == "altered"


def test_a_hidden_pixel_is_a_change(digits: Studio) -> None:
    picture = Image.fromarray(digits.picture()[..., 0]).convert("RGBA")
    picture.putpixel((3, 4), (*picture.getpixel((3, 4))[:3], 0))  # type: ignore[index]
    found = digits.judge(save(picture, "image/png", digits.text()))
    assert (found.result, found.box) == ("altered", (3, 4, 4, 5))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_grid_names_the_image_that_was_changed(studio: Studio, media_type: MediaType) -> None:
    pixels = studio.sampler.mint(studio.addresses(9))
    pixels[4] = 255 - pixels[4]
    height, width = pixels.shape[1:3]
    found = studio.judge(images.encode(images.grid(pixels, 3), media_type, studio.text(9)))
    assert found.result == "altered" and found.detail.endswith("of 9 images")
    assert str(studio.addresses(9)[4]) in found.changed_addresses
    if media_type != "image/jpeg":
        # A JPEG's blocks of eight pixels reach over the edges of images.
        assert found.box == (width, height, 2 * width, 2 * height) and len(found.changed_addresses) == 1


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("n", [1, 4])
def test_marks_on_another_picture_are_found_out(studio: Studio, media_type: MediaType, n: int) -> None:
    found = studio.judge(images.encode(studio.picture(n, seed=8), media_type, studio.text(n, seed=7)))
    assert (found.result, found.is_good) == ("another_image", False)
    assert "foreign" in found.detail and found.changed_pixels


@pytest.mark.parametrize("box", [(1, 0, 28, 28), (0, 0, 14, 14)])
def test_a_cropped_picture_is_another_image_and_says_the_sizes(digits: Studio, box: tuple[int, int, int, int]) -> None:
    cropped = Image.fromarray(digits.picture()[..., 0]).crop(box)
    found = digits.judge(save(cropped, "image/png", digits.text()))
    assert found.result == "another_image"
    assert f"is {cropped.width}x{cropped.height}, but its address would mint 28x28" in found.detail


def test_a_second_frame_is_another_image(digits: Studio) -> None:
    picture = Image.fromarray(digits.picture()[..., 0])
    frames = {"save_all": True, "append_images": [picture.rotate(90)]}
    for media_type in ("image/png", "image/webp"):
        found = digits.judge(save(picture, media_type, digits.text(), **frames))
        assert (found.result, "frames" in found.detail) == ("another_image", True)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_without_marks_nothing_is_minted(digits: Studio, media_type: MediaType) -> None:
    buffer = io.BytesIO()
    Image.fromarray(digits.picture()[..., 0]).save(buffer, FORMATS[media_type])
    found = digits.judge(buffer.getvalue())
    assert (found.result, found.is_good, found.addresses) == ("no_marks", False, ())
    assert (found.width, found.height, found.is_synthetic) == (28, 28, False)
    assert "it was not made by Ganmint" in found.detail
    assert digits.num_minted == 0


@pytest.mark.parametrize(("num_frames", "words"), [(1, "its address was removed"), (2, "videos of ganmint walk")])
def test_a_file_with_the_mark_of_synthetic_media_alone_is_told_so(digits: Studio, num_frames: int, words: str) -> None:
    frame = np.repeat(digits.picture(), 3, axis=2)
    found = digits.judge(images.encode_animation([frame, 255 - frame][:num_frames], [100] * num_frames))
    assert (found.result, found.is_synthetic) == ("no_marks", True)
    assert found.detail.startswith("says that it is synthetic, but carries no address") and words in found.detail
    assert "not made by Ganmint" not in found.detail


@pytest.mark.parametrize("address", ["digits/9.9.9/7/0?label=3", "nothing/4.2.0/7/0"])
def test_an_unknown_model_or_version_is_a_result(digits: Studio, address: str) -> None:
    found = digits.judge(images.encode(digits.picture(), "image/png", address))
    assert (found.result, found.is_good, found.addresses) == ("unknown_model", False, (address,))


# Forged and damaged files


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("../../etc/passwd", "addresses[0].model"),
        ("../4.2.0/7/0", "addresses[0].model"),
        ("digits/../7/0", "addresses[0].version"),
        ("digits/4.2.0/7/0\ndigits/4.2.0/-7/0", "addresses[1].seed"),
        ("digits/4.2.0/7/0\nfaces/0.2.0/7/0", "addresses"),
        ("digits/4.2.0/7/0?label=1\ndigits/4.2.0/7/0?label=10", "addresses[1].label"),
        ("a" * 65_000, "addresses[0]"),
        ("\n".join(["digits/4.2.0/7/0"] * 1025), "addresses"),
    ],
)
def test_what_is_no_address_is_refused_naming_it(digits: Studio, text: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        digits.judge(images.encode(digits.picture(), "image/png", text))
    assert caught.value.field == field and len(str(caught.value)) < 400


def claimed_size(data: bytes, width: int, height: int) -> bytes:
    """Return a PNG or JPEG file whose header claims another size."""
    if data.startswith(b"\x89PNG"):
        header = struct.pack(">II", width, height) + data[24:29]
        return data[:8] + png.make_chunk(b"IHDR", header) + data[33:]
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def test_a_second_header_of_a_monstrous_size_is_not_decoded(digits: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    file = digits.file()
    header_end = len(png.SIGNATURE) + 25
    second = png.make_chunk(b"IHDR", struct.pack(">II", 13_000, 13_000) + file[24:29])
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(FileError, match="two different sizes"):
        digits.judge(file[:header_end] + second + file[header_end:])


@pytest.mark.parametrize("step", range(4))
def test_a_comparison_ends_at_the_step_that_has_no_time_left(digits: Studio, step: int) -> None:
    steps = iter(range(10))

    def check_time() -> None:
        if next(steps) == step:
            raise TimeoutError

    changed = digits.picture()
    changed[3, 5] ^= 0x80
    claim = read_claim(images.encode(changed, "image/png", digits.text()), 1)
    with pytest.raises(TimeoutError):
        compare(claim, digits.mint(claim.addresses), check_time=check_time)
    assert next(steps) == step + 1


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg"])
def test_a_picture_that_claims_a_monstrous_size_is_not_decoded(
    digits: Studio, media_type: MediaType, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = claimed_size(digits.file(media_type), 60_000, 60_000)
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("decoded"))
    found = digits.judge(bomb)
    assert (found.result, found.width) == ("another_image", 60_000)


def test_a_text_that_expands_without_end_is_refused() -> None:
    body = ADDRESS_KEY.encode() + b"\0\0" + zlib.compress(b"a" * 100_000_000)
    header = png.make_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    bomb = png.SIGNATURE + header + png.make_chunk(b"zTXt", body) + png.make_chunk(b"IEND", b"")
    with pytest.raises(FileError, match="text of more than"):
        read_marks(bomb)


def test_endless_parts_and_scans_are_refused(digits: Studio) -> None:
    file = digits.file("image/png")
    with pytest.raises(FileError, match="parts"):
        read_marks(file[:33] + png.make_chunk(b"teSt", b"") * 10_001 + file[33:])
    jpeg = digits.file("image/jpeg")
    with pytest.raises(FileError, match="parts"):
        read_marks(jpeg[:2] + b"\xff\xe1\x00\x09Exif\0\0\0" * 10_001 + jpeg[2:])
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    with pytest.raises(FileError, match="scans"):
        read_marks(jpeg[:-2] + scan * 101 + jpeg[-2:])


def test_an_exif_block_of_many_overlapping_entries_takes_no_memory(digits: Studio) -> None:
    # Pillow copies what each entry points at: here 5,000 times 60 kB.
    entries = b"".join(struct.pack("<HHII", 0x9000 - 1 - k, 7, 60_000, 8) for k in range(5_000))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + entries
    jpeg = digits.file("image/jpeg")
    bomb = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert digits.judge(bomb).result == "no_marks"


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_file_cut_short_is_refused_or_no_longer_good(digits: Studio, media_type: MediaType) -> None:
    file = digits.file(media_type)
    for length in range(0, len(file), 7):
        with contextlib.suppress(FileError):
            assert not digits.judge(file[:length]).is_good


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_damaged_file_is_refused_or_judged(digits: Studio, media_type: MediaType) -> None:
    file = bytearray(digits.file(media_type))
    (pixels,) = digits.sampler.mint(digits.addresses())
    for at in range(0, len(file), 3):
        file[at] ^= 0xFF
        with contextlib.suppress(FileError, InputError):
            verify(bytes(file), lambda addresses: np.stack([pixels] * len(addresses)), 9)
        file[at] ^= 0xFF


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]
)
def test_what_is_no_picture_is_refused(digits: Studio, data: bytes) -> None:
    with pytest.raises(FileError, match="is not a readable picture"):
        digits.judge(data)


# Marks that other programs wrote


def test_marks_are_read_where_other_programs_put_them(digits: Studio) -> None:
    file = digits.file()
    start, end = file.index(b"tEXt") - 4, file.index(b"iTXt") - 4
    # Behind the pixels, as ImageMagick writes them.
    moved = file[:start] + file[end:-12] + file[start:end] + file[-12:]
    assert read_address(moved) == digits.text() and digits.judge(moved).result == "same_pixels"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + digits.text().encode()
    buffer = io.BytesIO()
    opened(file).save(buffer, "PNG", exif=exif.tobytes())
    assert read_address(buffer.getvalue()) == digits.text()


@pytest.mark.parametrize("endian", ["<", ">"])
def test_both_byte_orders_of_exif_are_read(endian: str, digits: Studio) -> None:
    exif = Image.Exif()
    exif.endian = endian
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + digits.text().encode()
    buffer = io.BytesIO()
    opened(digits.file()).save(buffer, "WEBP", exif=exif.tobytes())
    assert read_address(buffer.getvalue()) == digits.text()


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}])
def test_the_size_of_a_webp_without_marks_is_read(options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (37, 19)).save(buffer, "WEBP", **options)
    marks = read_marks(buffer.getvalue())
    assert (marks.width, marks.height, marks.addresses) == (37, 19, ())


def test_every_verdict_has_a_case_here() -> None:
    source = Path(__file__).read_text()
    assert {name for name in get_args(Result) if f'"{name}"' not in source} == set()
