"""ganmint inspect and ganmint verify: what they print, and their exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import artifact, images, store
from tests.conftest import Command


@pytest.fixture
def picture(tiny_artifact: Path, store_home: Path, tmp_path: Path) -> Path:
    """An image of the tiny model, which is in the store."""
    store.install(tiny_artifact)
    sampler = artifact.load(tiny_artifact)
    (address,) = sampler.manifest.addresses(7, labels=2)
    path = tmp_path / "two.png"
    path.write_bytes(images.encode(sampler.mint([address])[0], "image/png", str(address)))
    return path


@pytest.fixture
def changed(picture: Path) -> Path:
    """The same image with one pixel inverted."""
    pixels = np.array(Image.open(picture))
    pixels[3, 5] ^= 0x80
    path = picture.with_name("changed.png")
    path.write_bytes(images.encode(pixels[..., None], "image/png", "tiny/1.0.0/7/0?label=2"))
    return path


def test_inspect_prints_the_marks_without_a_model(command: Command, picture: Path) -> None:
    shutil.rmtree(store.get_home())
    result = command("inspect", str(picture))
    assert result.code == 0
    assert result.output.splitlines() == [
        f"{picture}: image/png, 8x8",
        "says that it is synthetic: yes",
        "addresses: 1",
        "  tiny/1.0.0/7/0?label=2",
    ]
    assert json.loads(command("inspect", str(picture), "--json").output) == {
        "file": str(picture),
        "media_type": "image/png",
        "width": 8,
        "height": 8,
        "is_synthetic": True,
        "addresses": ["tiny/1.0.0/7/0?label=2"],
        "content_credentials": None,
    }


def test_inspect_says_that_there_are_no_marks_and_escapes_what_would_steer_a_terminal(
    command: Command, tmp_path: Path
) -> None:
    Image.new("L", (3, 2)).save(tmp_path / "bare.png")
    assert command("inspect", str(tmp_path / "bare.png")).output.endswith("synthetic: no\naddresses: none\n")
    (tmp_path / "forged.png").write_bytes(images.encode(np.zeros((2, 2, 1), np.uint8), "image/png", "\x1b[2Jx"))
    assert "\x1b" not in command("inspect", str(tmp_path / "forged.png")).output


def test_verify_ends_with_0_if_every_file_is_what_its_address_mints(command: Command, picture: Path) -> None:
    copy = picture.with_name("copy.webp")
    address = "tiny/1.0.0/7/0?label=2"
    copy.write_bytes(images.encode(np.array(Image.open(picture))[..., None], "image/webp", address))
    result = command("verify", str(picture), str(copy))
    assert (result.code, result.errors) == (0, "")
    assert result.output.splitlines() == [
        f"{picture}: identical: is byte for byte what its address would mint",
        f"{copy}: identical: is byte for byte what its address would mint",
    ]


def test_verify_says_of_a_walk_that_it_is_synthetic_but_has_no_address(command: Command, tmp_path: Path) -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    (tmp_path / "walk.webp").write_bytes(images.encode_animation([frame, 255 - frame], [100, 100]))
    result = command("verify", str(tmp_path / "walk.webp"))
    assert result.code == 1
    assert ": no address: says that it is synthetic, but carries no address to mint again" in result.output


def test_verify_ends_with_1_if_one_file_is_not(command: Command, picture: Path, changed: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    missing = tmp_path / "missing.png"
    result = command("verify", str(picture), str(changed), str(tmp_path / "text.png"), str(missing), "--json")
    rows = json.loads(result.output)
    assert result.code == 1
    assert [row.get("result") for row in rows] == ["identical", "altered", None, None]
    assert (rows[1]["changed_pixels"], rows[1]["box"]) == (1, [5, 3, 6, 4])
    assert rows[2]["error"].startswith("is not a readable picture") and "cannot be read" in rows[3]["error"]
    assert [row["file"] for row in rows] == [str(picture), str(changed), str(tmp_path / "text.png"), str(missing)]


def test_verify_says_in_words_what_was_changed(command: Command, changed: Path) -> None:
    result = command("verify", str(changed))
    assert result.code == 1
    assert f"{changed}: altered: 1 of 64 pixels differ" in result.output
    assert "in columns 5 to 5 and rows 3 to 3" in result.output


def test_verify_names_what_the_store_has_if_the_model_is_unknown(command: Command, picture: Path) -> None:
    unknown = picture.with_name("unknown.png")
    unknown.write_bytes(images.encode(np.zeros((8, 8, 1), np.uint8), "image/png", "tiny/2.0.0/7/0?label=2"))
    result = command("verify", str(unknown))
    assert result.code == 1
    assert "unknown model: cannot be minted again here: there is no version 2.0.0 of 'tiny'" in result.output


def test_verify_writes_a_picture_of_the_differences(command: Command, picture: Path, changed: Path) -> None:
    out = picture.with_name("diff.png")
    assert command("verify", str(changed), "--diff", str(out)).code == 1
    painted = np.asarray(Image.open(out))
    assert painted.shape == (8, 8, 3) and np.argwhere(painted[..., 0] > painted[..., 2]).tolist() == [[3, 5]]
    out.unlink()
    result = command("verify", str(picture), "--diff", str(out))
    assert result.code == 0 and "is not written" in result.errors and not out.exists()
    both = command("verify", str(picture), str(changed), "--diff", str(out))
    assert both.code == 2 and both.errors.startswith("Error: --diff: needs one FILE")


def test_a_damaged_model_is_named_and_the_file_not_judged(command: Command, picture: Path) -> None:
    (store.find_version("tiny").path / "generator.onnx").write_bytes(b"")
    result = command("verify", str(picture))
    assert result.code == 1 and "generator.onnx: does not have the hash" in result.output
