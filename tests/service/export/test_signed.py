"""Exports with Content Credentials: every file is signed, verify compares what was minted, a run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ganmint
from models import artifact, content_credentials, store
from models.errors import ExportError
from models.picture_file import find_credentials, remove_credentials
from service.export import readers, state, verify
from service.export.target import Target
from tests.c2pa_keys import SUBJECT, make_chain, needs_c2pa
from tests.conftest import Command
from tests.service.export.conftest import tree

SIGNED_FORMATS = ("imagefolder", "webdataset", "parquet")
pytestmark = needs_c2pa


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    key, chain = make_chain(tmp_path_factory.mktemp("c2pa") / "keys")
    return "--c2pa-key", str(key), "--c2pa-cert", str(chain)


def read_files(out: Path) -> list[bytes]:
    context = state.read_context(Target(str(out)))
    files = []
    for shard in context.spec.shards():
        positions = list(range(shard.first, shard.first + shard.count))
        files += [
            image.image
            for image in readers.read_images(Target(str(out)), context, shard, positions)
            if isinstance(image.image, bytes)
        ]
    return files


@pytest.mark.parametrize("format", SIGNED_FORMATS)
def test_every_file_is_signed_and_without_its_credentials_is_what_an_unsigned_export_has(
    format: str, export: Command, command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    result = export(tmp_path / "signed", *keys, format=format, count=7, size=4)
    assert result.code == 0 and f"# signed by: {SUBJECT}" in result.output
    export(tmp_path / "bare", format=format, count=7, size=4)
    files, bare = read_files(tmp_path / "signed"), read_files(tmp_path / "bare")
    assert len(files) == 7 and [remove_credentials(file) for file in files] == bare
    for file in files:
        credentials = content_credentials.read(file, "image/png")
        assert credentials.is_valid and credentials.signed_by == "Test Organisation, Test signer"
    verified = command("dataset", "verify", str(tmp_path / "signed"), "--device", "cpu")
    assert "7 are the same byte for byte, without their Content Credentials" in verified.output
    readme = (tmp_path / "signed" / "README.md").read_text()
    assert f"signed by `{SUBJECT}`" in readme and "--c2pa-key KEY --c2pa-cert CHAIN" in readme


def test_other_image_formats_are_signed_from_python(keys: tuple[str, ...], tmp_path: Path) -> None:
    ganmint.export(
        "tiny",
        count=2,
        out=tmp_path / "out",
        format="imagefolder",
        image_format="webp",
        c2pa_key=keys[1],
        c2pa_cert=keys[3],
        device="cpu",
    )
    for file in read_files(tmp_path / "out"):
        assert content_credentials.read(file, "image/webp").is_valid


@pytest.mark.slow
def test_workers_sign_like_one_process(export: Command, keys: tuple[str, ...], tmp_path: Path) -> None:
    assert export(tmp_path / "out", *keys, "--workers", "2", count=6, size=3).code == 0
    assert all(map(find_credentials, read_files(tmp_path / "out")))


def test_a_signed_export_goes_on_where_it_was_cut_and_keeps_what_is_committed(
    export: Command, command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(out, *keys, count=7, size=4)
    whole = tree(out)
    (out / ".ganmint" / "shards" / "00001.json").unlink()

    assert export(out, *keys, count=7, size=4).code == 0

    after = tree(out)
    assert after["data/train-00000.tar"] == whole["data/train-00000.tar"]
    # A signature has a random part.
    assert after["data/train-00001.tar"] != whole["data/train-00001.tar"]
    assert command("dataset", "verify", str(out), "--device", "cpu").code == 0
    recorded = json.loads(after["manifest.json"])["files"]
    assert recorded.keys() == json.loads(whole["manifest.json"])["files"].keys()


def test_verify_finds_a_file_without_credentials_and_one_with_other_pixels(
    export: Command, command: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(out, *keys, format="imagefolder", count=3)
    path = next(out.rglob("0.png"))
    signed = path.read_bytes()
    path.write_bytes(remove_credentials(signed))
    options = ("dataset", "verify", str(out), "--device", "cpu")
    assert "instead of" in command(*options).errors
    verify_without_files(out, "has no Content Credentials, but its export was signed")
    other = next(out.rglob("1.png"))
    changed = bytearray(signed)
    changed[-20] ^= 1
    path.write_bytes(changed)
    assert other.is_file() and "has changed: its sha256" in command(*options).errors


def verify_without_files(out: Path, message: str) -> None:
    """Only mint again and compare; that the files' digests differ, too, is found before."""
    target = Target(str(out))
    sampler = artifact.load(store.find_model("tiny").path)
    with pytest.raises(ExportError, match=message):
        verify.verify(target, state.read_context(target).spec, sampler, None)


def test_an_export_does_not_change_its_signer(export: Command, keys: tuple[str, ...], tmp_path: Path) -> None:
    export(tmp_path / "signed", *keys, count=3)
    unsigned = export(tmp_path / "signed", count=3)
    assert unsigned.code == 1
    assert f"the signer that --c2pa-cert names is {SUBJECT} there, not set here" in unsigned.errors
    export(tmp_path / "bare", count=3)
    assert f"is not set there, {SUBJECT} here" in export(tmp_path / "bare", *keys, count=3).errors
    # A renewed certificate of the same signer goes on.
    key, chain = make_chain(tmp_path / "renewed")
    renewed = export(tmp_path / "signed", "--c2pa-key", str(key), "--c2pa-cert", str(chain), count=5)
    assert renewed.code == 0, renewed.errors


@pytest.mark.parametrize("format", ["npz", "idx"])
def test_formats_without_picture_files_have_nothing_to_sign(
    format: str, export: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    result = export(tmp_path / "out", *keys, format=format)
    assert result.code == 2
    assert f"--c2pa-key: {format} holds pixels, not picture files: there is nothing to sign" in result.errors
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_the_key_is_said_before_anything_is_written(
    export: Command, keys: tuple[str, ...], tmp_path: Path
) -> None:
    key, chain = make_chain(tmp_path / "old", days=(-30, -2))
    out = tmp_path / "out"
    expired = export(out, "--c2pa-key", str(key), "--c2pa-cert", str(chain))
    assert expired.code == 1 and f"Error: {chain}: certificate 1 of 2 expired on" in expired.errors
    alone = export(out, "--c2pa-key", str(key))
    assert alone.code == 2 and "--c2pa-key: needs --c2pa-cert, too" in alone.errors
    alone = export(out, "--c2pa-cert", str(chain))
    assert alone.code == 2 and "--c2pa-cert: needs --c2pa-key, too" in alone.errors
    ray = export(out, *keys, "--engine", "ray")
    assert ray.code == 2 and "--c2pa-key: the key does not leave this machine" in ray.errors
    assert not out.exists()


def test_a_certificate_that_ends_while_an_export_runs_stops_it_with_its_reason(
    export: Command, keys: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, chain = make_chain(tmp_path / "old", days=(-30, -2))
    monkeypatch.setattr(content_credentials, "_check_chain", lambda *_: None)
    monkeypatch.setattr(content_credentials, "_try_out", lambda *_: None)
    result = export(tmp_path / "out", "--c2pa-key", str(key), "--c2pa-cert", str(chain))
    assert result.code == 1
    assert "the certificate was not valid at time of signing" in result.errors
    assert "0 of 3 shards are committed and kept; run the same command again" in result.errors
    assert not list((tmp_path / "out").rglob("*.tar"))
