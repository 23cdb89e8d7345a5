"""ganmint sign-images, and what inspect and verify say of signed files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import artifact, images, store
from models.picture_file import find_credentials, remove_credentials
from tests.c2pa_keys import make_chain, needs_c2pa
from tests.conftest import Command

ADDRESS = "tiny/1.0.0/7/0?label=2"
pytestmark = needs_c2pa


@pytest.fixture
def pixels(tiny_artifact: Path, store_home: Path) -> NDArray[np.uint8]:
    """An image of the tiny model, which is in the store."""
    store.install(tiny_artifact)
    sampler = artifact.load(tiny_artifact)
    minted: NDArray[np.uint8] = sampler.mint(sampler.manifest.addresses(7, labels=2))[0]
    return minted


@pytest.fixture
def folder(pixels: NDArray[np.uint8], tmp_path: Path) -> Path:
    """The image in a folder, as a PNG and in a folder of its own as JPEG and WebP, beside a text."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "more/a.jpg", "more/a.webp"):
        media_type = images.EXTENSIONS[name.rpartition(".")[2]]
        (folder / name).write_bytes(images.encode(pixels, media_type, ADDRESS))
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    key, chain = make_chain(tmp_path_factory.mktemp("c2pa") / "keys")
    return "--key", str(key), "--cert", str(chain)


def read_pictures(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_picture_of_a_folder_is_signed_in_its_place(
    command: Command, folder: Path, keys: tuple[str, ...]
) -> None:
    before = read_pictures(folder)
    result = command("sign-images", str(folder), *keys)
    assert (result.code, result.output) == (0, "3 signed, 0 had Content Credentials already, 0 refused\n")
    after = read_pictures(folder)
    assert after.keys() == before.keys() and after["notes.txt"] == before["notes.txt"]
    for name in ("a.png", "more/a.jpg", "more/a.webp"):
        assert find_credentials(after[name]) and remove_credentials(after[name]) == before[name]

    again = command("sign-images", str(folder), *keys)
    assert (again.code, again.output) == (0, "0 signed, 3 had Content Credentials already, 0 refused\n")
    assert read_pictures(folder) == after


def test_with_out_the_signed_files_lie_there_and_the_others_stay(
    command: Command, folder: Path, keys: tuple[str, ...]
) -> None:
    before = read_pictures(folder)
    out = folder / "signed"
    for _ in range(2):
        assert command("sign-images", str(folder), *keys, "--out", str(out)).code == 0
        assert set(read_pictures(out)) == {"a.png", "more/a.jpg", "more/a.webp"}
    assert {name: data for name, data in read_pictures(folder).items() if not name.startswith("signed")} == before
    copied = command("sign-images", str(out / "a.png"), *keys, "--out", str(folder / "copy"))
    assert (
        copied.output.startswith("0 signed, 1 had")
        and (folder / "copy" / "a.png").read_bytes() == (out / "a.png").read_bytes()
    )


def test_inspect_and_verify_know_a_signed_file(command: Command, folder: Path, keys: tuple[str, ...]) -> None:
    command("sign-images", str(folder), *keys)
    for name in ("a.png", "more/a.jpg", "more/a.webp"):
        inspected = command("inspect", str(folder / name))
        assert inspected.code == 0
        assert "Content Credentials: signed by Test Organisation, Test signer with Ganmint" in inspected.output
        assert "; the signature is valid; whether to trust the signer was not checked" in inspected.output
        (row,) = json.loads(command("verify", str(folder / name), "--json").output)
        assert row["result"] == "same_pixels"
        assert row["detail"] == "is byte for byte what its address would mint, with Content Credentials added"
    row = json.loads(command("inspect", str(folder / "a.png"), "--json").output)["content_credentials"]
    assert row["is_valid"] is True and row["signed_by"] == "Test Organisation, Test signer"


def test_inspect_says_when_a_signed_file_was_changed_and_what_it_lacks_to_look(
    command: Command, folder: Path, keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "a.png"
    command("sign-images", str(path), *keys)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    bare = command("inspect", str(path))
    assert "Content Credentials: there are some; to read them: pip install '.[c2pa]'" in bare.output
    monkeypatch.undo()
    changed = bytearray(path.read_bytes())
    changed[-20] ^= 1
    path.write_bytes(changed)
    assert "the signature is NOT valid: assertion.dataHash.mismatch" in command("inspect", str(path)).output


def test_what_is_not_what_its_address_mints_is_refused_and_the_others_are_signed(
    command: Command, folder: Path, pixels: NDArray[np.uint8], keys: tuple[str, ...]
) -> None:
    forged = folder / "b.png"
    forged.write_bytes(images.encode(255 - pixels, "image/png", ADDRESS))
    Image.new("L", (8, 8)).save(folder / "c.png")
    (folder / "d.png").write_bytes(images.encode(pixels, "image/png", ADDRESS.replace("1.0.0", "9.0.0")))
    (folder / "e.png").write_bytes(b"no picture")
    before = read_pictures(folder)
    result = command("sign-images", str(folder), *keys)
    assert result.code == 1
    assert result.output == "3 signed, 0 had Content Credentials already, 4 refused\n"
    for name, word in (("b", "another image"), ("c", "no address"), ("d", "unknown model"), ("e", "is not a readable")):
        assert f"Refused: {folder / name}.png: {word}" in result.errors
        assert (folder / f"{name}.png").read_bytes() == before[f"{name}.png"]


def test_a_bad_key_is_refused_before_anything_is_written(command: Command, folder: Path, tmp_path: Path) -> None:
    key, chain = make_chain(tmp_path / "old", days=(-30, -2))
    before = read_pictures(folder)
    result = command("sign-images", str(folder), "--key", str(key), "--cert", str(chain))
    assert result.code == 1 and f"Error: {chain}: certificate 1 of 2 expired on" in result.errors
    assert read_pictures(folder) == before


def test_a_file_that_cannot_be_written_stays_as_it_was(
    command: Command, folder: Path, keys: tuple[str, ...], tmp_path: Path
) -> None:
    before = read_pictures(folder)
    (tmp_path / "file").write_bytes(b"")
    result = command("sign-images", str(folder / "a.png"), *keys, "--out", str(tmp_path / "file" / "inside"))
    assert result.code == 1 and "cannot be written" in result.errors
    assert read_pictures(folder) == before


def test_files_that_are_not_there_or_would_share_a_name_or_belong_to_an_export_are_errors(
    command: Command, folder: Path, keys: tuple[str, ...], tmp_path: Path
) -> None:
    missing = command("sign-images", str(tmp_path / "none.png"), *keys)
    assert missing.code == 1 and "none.png: is not there" in missing.errors
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in command("sign-images", str(tmp_path / "empty"), *keys).errors
    shutil.copy(folder / "a.png", folder / "more" / "a.png")
    same_name = command(
        "sign-images", str(folder / "a.png"), str(folder / "more" / "a.png"), *keys, "--out", str(tmp_path / "out")
    )
    assert same_name.code == 2 and "would both become" in same_name.errors
    (folder / ".ganmint").mkdir()
    (folder / ".ganmint" / "job.json").write_text("{}")
    exported = command("sign-images", str(folder / "more" / "a.png"), *keys)
    assert exported.code == 1 and "an export with digests of its files" in exported.errors
