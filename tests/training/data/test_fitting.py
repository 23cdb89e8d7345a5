"""Images of any size and with transparent pixels: brought to one size, put on a background, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import DamagedFileError, DataError, InputError
from tests.training.data.samples import (
    class_folder,
    mixed_folder,
    random_pixels,
    write_image,
    write_mnist,
    write_npz,
    write_zip,
)
from training.config_files import dump_config, load_preset
from training.data.decoding import Decoding, FitMode, Size, parse_size
from training.data.fitting import find_box, fit_image, is_enlarged
from training.data.loader import load_dataset, load_test_images

WHITE = (255, 255, 255)
HALF_ALPHA = 128


def to(width: int, height: int, **settings: Any) -> Decoding:
    return Decoding(Size(width, height), **settings)


def block_means(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.float64]:
    height, width = (side // factor for side in pixels.shape[:2])
    blocks: NDArray[np.float64] = pixels.astype(float).reshape(height, factor, width, factor, -1).mean((1, 3))
    return blocks


@pytest.mark.parametrize(
    ("value", "size"), [(64, (64, 64)), ("96x64", (96, 64)), ("64", (64, 64)), (Size(16, 20), (16, 20))]
)
def test_a_size_is_a_side_or_width_and_height(value: Any, size: tuple[int, int]) -> None:
    assert parse_size(value) == size
    assert parse_size(str(parse_size(value))) == size


@pytest.mark.parametrize("value", [15, 257, "64x", "x64", "64x64x3", "64*64", True, "", [64, 64], -64, "64x300"])
def test_other_sizes_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_size(value)


@pytest.mark.parametrize(
    ("original", "box"),
    [((64, 64), (0, 16, 64, 48)), ((300, 100), (50, 0, 250, 100)), ((33, 90), (0, 37, 33, 53)), ((1, 9), (0, 4, 1, 5))],
)
def test_the_centre_of_the_wanted_aspect_is_cropped(original: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    assert find_box(Size(*original), to(64, 32)) == box


def test_pixels_are_averaged_whole_blocks_at_a_time(tmp_path: Path) -> None:
    # 4 times as large, and off the centre by an odd number of pixels.
    pixels = random_pixels(1, 64, 107, 3)
    write_image(tmp_path / "set" / "a.png", pixels)

    dataset = load_dataset(tmp_path / "set", decoding=to(16, 16))

    assert dataset.origins is not None and dataset.origins.boxes.tolist() == [[21, 0, 85, 64]]
    assert np.abs(dataset.images[0] - block_means(pixels[:, 21:85], 4)).max() <= 1


def test_mixed_sizes_become_one_and_enlarged_ones_are_counted(tmp_path: Path) -> None:
    dataset = load_dataset(mixed_folder(tmp_path / "set"), decoding=to(24, 16))

    assert dataset.shape == (3, 16, 24)
    assert dataset.origins is not None
    assert dataset.origins.names == ("a.png", "b.png", "c.png")
    assert dataset.origins.enlarged == 1


def test_mixed_sizes_without_a_size_are_an_error_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is 60x20 pixels, but a\.png is 48x64; .* --set data\.size=64") as caught:
        load_dataset(mixed_folder(tmp_path / "set"))
    assert caught.value.path == tmp_path / "set" / "b.png"


@pytest.mark.parametrize("shape", [(1, 300), (300, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_line_of_pixels_is_an_image(shape: tuple[int, int], fit: FitMode) -> None:
    for decoding in (to(16, 256, fit=fit, background=WHITE), to(256, 16, fit=fit, background=WHITE)):
        assert fit_image(Image.fromarray(random_pixels(1, *shape)), decoding).size == decoding.size


@pytest.mark.parametrize(("fit", "is_larger"), [("crop", True), ("stretch", True), ("pad", False)])
def test_an_image_with_too_few_pixels_on_one_side_is_enlarged_unless_padded(fit: FitMode, is_larger: bool) -> None:
    decoding = to(24, 16, fit=fit, background=WHITE)
    assert is_enlarged(find_box(Size(60, 12), decoding), decoding) == is_larger


def test_test_images_are_grey_only_if_the_training_images_are(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "train" / "a.png", random_pixels(1, 5, 4, 3))
    write_image(tmp_path / "set" / "test" / "b.png", random_pixels(2, 5, 4))
    test = load_test_images(tmp_path / "set")
    assert test is not None and test.shape == (3, 5, 4)


def test_a_part_of_a_set_does_not_claim_the_origins_of_all(tmp_path: Path) -> None:
    (mixed_folder(tmp_path / "set") / "d.png").write_bytes(b"no picture")
    part = load_dataset(tmp_path / "set", decoding=to(24, 16, skip_damaged=True)).take(np.array([0, 2]))
    assert (len(part), part.origins, part.skipped) == (2, None, ())


def test_the_sides_of_a_padded_image_are_rounded() -> None:
    white = Image.fromarray(np.full((20, 33), 255, np.uint8))
    assert np.asarray(fit_image(white, to(16, 16, fit="pad", background=(0, 0, 0))))[:, 8].astype(bool).sum() == 10


@pytest.mark.parametrize("channels", [1, 3])
def test_padding_keeps_the_whole_image_between_bars(tmp_path: Path, channels: int) -> None:
    write_image(tmp_path / "set" / "a.png", np.full((64, 32, 3)[: 2 + channels // 3], 200, np.uint8))

    images = load_dataset(tmp_path / "set", decoding=to(16, 16, fit="pad", background=WHITE)).images[0]

    assert images.shape == (16, 16, channels)
    assert (images[:, 4:12] == 200).all()
    assert (images[:, :4] == 255).all() and (images[:, 12:] == 255).all()


def test_a_coloured_background_makes_grey_images_rgb(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", np.full((64, 32), 200, np.uint8))

    images = load_dataset(tmp_path / "set", decoding=to(16, 16, fit="pad", background=(255, 0, 0))).images[0]

    assert images[0, 0].tolist() == [255, 0, 0]
    assert images[8, 8].tolist() == [200, 200, 200]


def test_stretching_uses_every_pixel(tmp_path: Path) -> None:
    pixels = random_pixels(1, 32, 64, 3)
    write_image(tmp_path / "set" / "a.png", pixels)

    images = load_dataset(tmp_path / "set", decoding=to(16, 32, fit="stretch")).images[0]

    assert np.abs(images - pixels.reshape(32, 16, 4, 3).astype(float).mean(2)).max() <= 1


def test_a_rotated_photograph_is_cropped_upright(tmp_path: Path) -> None:
    pixels = random_pixels(1, 16, 24, 3)
    exif = Image.Exif()
    # Orientation 6: turned clockwise by a quarter to be seen.
    exif[0x0112] = 6
    write_image(tmp_path / "set" / "a.png", pixels, exif=exif)

    dataset = load_dataset(tmp_path / "set", decoding=to(16, 24))

    assert np.array_equal(dataset.images[0], np.rot90(pixels, -1))
    assert dataset.origins is not None and dataset.origins.boxes.tolist() == [[0, 0, 16, 24]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_blended_with_the_background(tmp_path: Path, mode: str) -> None:
    array = np.full((16, 16, 4), (100, 100, 100, HALF_ALPHA), np.uint8)
    array[0, 0, 3], array[1, 1, 3] = 0, 255
    image = Image.fromarray(array)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    (tmp_path / "set").mkdir()
    image.save(tmp_path / "set" / "a.png")

    pixels = load_dataset(tmp_path / "set", decoding=Decoding(background=WHITE)).images[0]

    assert pixels.shape[2] == (1 if mode == "LA" else 3)
    assert [pixels[k, k, 0] for k in range(3)] == [255, 100, pytest.approx(177, abs=1)]


def test_transparent_pixels_without_a_background_are_refused_with_the_setting(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 5, 4, 4))
    with pytest.raises(DataError, match=r"partly transparent; .* --set data\.background=white"):
        load_dataset(tmp_path / "set", decoding=Decoding(skip_damaged=True))


@pytest.mark.parametrize("pack", [False, True])
def test_damaged_images_are_skipped_by_name_if_asked_for(tmp_path: Path, pack: bool) -> None:
    folder = class_folder(tmp_path / "set")
    (folder / "cat" / "1.png").write_bytes(b"no picture")
    cut = folder / "emu" / "3.png"
    cut.write_bytes(cut.read_bytes()[:-30])
    path = write_zip(folder, tmp_path / "set.zip") if pack else folder

    with pytest.raises(DamagedFileError) as caught:
        load_dataset(path)
    assert caught.value.path == path / "cat" / "1.png"
    assert caught.value.reason.endswith(
        "replace it or remove it, or leave out all that are damaged with --set data.skip_damaged=true"
    )

    dataset = load_dataset(path, decoding=Decoding(skip_damaged=True))
    assert dataset.skipped == ("cat/1.png", "emu/3.png")
    # A class without images is none.
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels is not None and dataset.labels.tolist() == [0, 1]
    assert np.array_equal(dataset.images, np.stack([random_pixels(k, 5, 4, 3) for k in (2, 0)]))


def test_a_set_of_damaged_images_only_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 5, 4)).write_bytes(b"no picture")
    with pytest.raises(DataError, match="no image that can be read: all 1 are damaged"):
        load_dataset(tmp_path / "set", decoding=Decoding(skip_damaged=True))


def test_arrays_are_fitted_as_files_are(tmp_path: Path) -> None:
    pixels = np.stack([random_pixels(k, 40, 36, 3) for k in range(3)])
    for k in range(3):
        write_image(tmp_path / "set" / f"{k}.png", pixels[k])
    arrays = load_dataset(write_npz(tmp_path / "set.npz", images=pixels), decoding=to(18, 16))
    files = load_dataset(tmp_path / "set", decoding=to(18, 16))

    assert arrays.digest == files.digest and arrays.origins and files.origins
    assert np.array_equal(arrays.origins.boxes, files.origins.boxes)


def test_test_images_are_fitted_too(tmp_path: Path) -> None:
    write_mnist(tmp_path / "set", split="train")
    write_mnist(tmp_path / "set", split="t10k")

    test = load_test_images(tmp_path / "set", decoding=to(16, 20))

    assert test is not None and test.shape == (1, 20, 16)


def test_what_has_the_size_already_keeps_its_digest(tmp_path: Path) -> None:
    for k in range(3):
        write_image(tmp_path / "set" / f"{k}.png", random_pixels(k, 20, 16, 3))

    assert load_dataset(tmp_path / "set", decoding=to(16, 20)).digest == load_dataset(tmp_path / "set").digest


@pytest.mark.parametrize(
    ("assignments", "field", "reason"),
    [
        (["data.size=8"], "data.size", "from 16 to 256 pixels, got 8"),
        (["data.size=[64, 64]"], "data.size", "a side such as 64, or WIDTHxHEIGHT"),
        (["data.background=whitte"], "data.background", "a colour such as white"),
        (["data.background='#ffffff80'"], "data.background", "a colour such as white"),
        (["data.fit=pad", "data.size=64"], "data", "data.fit=pad needs data.background"),
        (["data.fit=stretch"], "data", "data.fit=stretch needs data.size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(assignments: list[str], field: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        load_preset("digits", tuple(assignments))
    assert caught.value.field == field and reason in caught.value.reason


@pytest.mark.parametrize(("text", "saved"), [("64", "size: 64\n"), ("96x64", "size: 96x64\n"), ("32x32", "size: 32\n")])
def test_a_saved_size_reads_as_it_was_written(text: str, saved: str) -> None:
    config = load_preset("digits", (f"data.size={text}",))
    assert saved in dump_config(config)
    assert type(config).model_validate(config.model_dump(mode="json")) == config
