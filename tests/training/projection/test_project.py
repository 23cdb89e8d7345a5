"""A picture is found among the images of a model; what is no such picture is refused by name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import artifact, images
from models.address import Address
from models.errors import FileError
from models.manifest import MANIFEST_FILE, ImageShape, dump_manifest, read_manifest
from models.marks import read_marks
from models.network_config import GeneratorConfig
from models.networks import load_generator
from tests.conftest import Command
from training.projection import distance as distances
from training.projection.descent import find_nearest
from training.projection.distance import PictureDistance, average_pixels, load_unit_maps
from training.projection.picture import describe_fitting, read_picture

GREY = ImageShape(channels=1, height=8, width=8)


@pytest.fixture
def picture(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A picture that the tiny model minted."""
    path = tmp_path / "minted.png"
    pixels = artifact.load(tiny_artifact).mint([Address("tiny", "1.0.0", 99, 3, 1)])[0]
    path.write_bytes(images.encode(pixels, "image/png", "tiny/1.0.0/99/3?label=1"))
    return path


def test_a_picture_that_the_model_minted_is_found_again(
    tiny_artifact: Path, picture: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "is_installed", lambda: False)
    out = tmp_path / "beside.png"
    options = ("--label", "b", "--steps", "100", "--out", str(out))
    result = command("project", str(picture), "--model", str(tiny_artifact), *options)
    assert result.code == 0, result.errors
    size, name, *_, text, measured, _ = result.output.splitlines()
    assert size == f"{picture}: 8x8 pixels"
    assert name.startswith("distance: pixels at several scales, because the weights of EfficientNet-Lite0 are not")
    # The model's card says nothing about people.
    assert "made-up face" not in result.output
    address = Address.parse(text)
    assert address.latent is not None and address.label == 1
    found, nearest, median = map(float, re.findall(r"\b\d\.\d{4}\b", measured))
    assert found < nearest / 20 and nearest < median
    expected = np.asarray(Image.open(picture))
    minted = artifact.load(tiny_artifact).mint([address])[0, ..., 0]
    assert np.abs(minted.astype(int) - expected).mean() < 4
    # Each of 8 pixels, enlarged to 96, with a gap between.
    shown = np.asarray(Image.open(out))
    assert shown.shape == (96, 96 + images.GAP_PIXELS + 96)
    assert np.array_equal(shown[6::12, 6:96:12], expected) and np.array_equal(shown[6::12, 106::12], minted)
    marks = read_marks(out.read_bytes())
    assert marks.is_synthetic and marks.addresses == ()


def test_the_result_is_the_nearest_of_all_that_were_tried(tiny_artifact: Path) -> None:
    """One step of descent may lead away; a start that is the picture itself stays the answer."""
    sampler = artifact.load(tiny_artifact)
    files = artifact.read(tiny_artifact)
    config = GeneratorConfig.model_validate(files.manifest.network)
    generator = load_generator(config, files.get(artifact.WEIGHTS), tiny_artifact / artifact.WEIGHTS)
    start = sampler.manifest.addresses(0, index=5)
    pixels = sampler.mint(start)
    projection = find_nearest(
        sampler, generator.requires_grad_(False), PictureDistance(pixels[0], average_pixels), steps=1
    )
    assert projection.distance == 0 and projection.address.label == start[0].label
    assert np.array_equal(projection.pixels, pixels[0])


def test_distances_in_features_grow_with_the_change(picture: Path) -> None:
    pixels = read_picture(picture, GREY).pixels
    changed = np.stack([pixels, np.roll(pixels, 1, axis=1), 255 - pixels])
    same, shifted, inverted = PictureDistance(pixels, load_unit_maps()).measure(changed)
    assert same < 1e-6 < shifted < inverted <= 4


def test_a_model_of_people_says_what_the_result_is(
    tiny_artifact: Path, picture: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "is_installed", lambda: False)
    folder = tmp_path / "people"
    shutil.copytree(tiny_artifact, folder)
    manifest = read_manifest(folder)
    data = manifest.training.data.model_copy(update={"use": "Photographs of people: identify nobody by them."})
    training = manifest.training.model_copy(update={"data": data})
    (folder / MANIFEST_FILE).write_bytes(dump_manifest(manifest.model_copy(update={"training": training})))
    lines = command("project", str(picture), "--model", str(folder), "--steps", "1").output.splitlines()
    assert lines[1] == "tiny 1.0.0: Photographs of people: identify nobody by them."
    assert lines[2] == "The result is a made-up face that resembles the picture. It identifies nobody."


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((8, 8), "8x8 pixels"),
        ((40, 30), "40x30 pixels; its central 30x30 averaged down to 8x8"),
        ((16, 16), "16x16 pixels; all of it averaged down to 8x8"),
        ((4, 6), "4x6 pixels; its central 4x4 enlarged to 8x8"),
        ((8, 10), "8x10 pixels; its central 8x8"),
    ],
)
def test_pictures_of_other_sizes_are_cropped_and_scaled(tmp_path: Path, size: tuple[int, int], text: str) -> None:
    path = tmp_path / "picture.webp"
    Image.new("RGB", size, (10, 10, 10)).save(path, lossless=True)
    picture = read_picture(path, GREY)
    assert describe_fitting(picture) == text
    assert picture.pixels.shape == (8, 8, 1) and (picture.pixels == 10).all()


def test_what_is_no_such_picture_is_refused_by_name(tmp_path: Path, command: Command, tiny_artifact: Path) -> None:
    text, huge, clip = tmp_path / "notes.png", tmp_path / "huge.png", tmp_path / "clip.png"
    text.write_text("not a picture")
    Image.new("1", (10_000, 5_001)).save(huge)
    frames = [Image.new("L", (8, 8), k) for k in (0, 99)]
    frames[0].save(clip, save_all=True, append_images=frames[1:])
    reasons = {text: "is no PNG, JPEG or WebP file", huge: "more than 50 million", clip: "is an animation"}
    for path, reason in {**reasons, tmp_path / "missing.png": "cannot be read"}.items():
        with pytest.raises(FileError, match=reason) as caught:
            read_picture(path, GREY)
        assert str(path) in str(caught.value)
    result = command("project", str(text), "--model", str(tiny_artifact))
    assert (result.code, result.output) == (1, "") and "notes.png: is not a readable picture" in result.errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label", "7"), "--label: must be from 0 to 2"),
        (("--label", "seven"), "--label: must be from 0 to 2 or a class's name (a, b, c), got 'seven'"),
        (("--out", "beside.jpg"), "--out: must end in .png"),
    ],
)
def test_wrong_options_are_named(
    tiny_artifact: Path, picture: Path, command: Command, options: tuple[str, str], message: str
) -> None:
    result = command("project", str(picture), "--model", str(tiny_artifact), *options)
    assert result.code == 2 and message in result.errors
