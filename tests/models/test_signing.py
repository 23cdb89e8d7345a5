"""Signatures: whoever changed anything, or has another key, is found out; the artifact stays what it was."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import artifact, signing, store
from models.artifact_files import ArtifactFiles, read_files
from models.errors import FileError, InputError, SignatureError
from tests.signing_keys import Keys, make_key_pair

PASSWORD = "of the key"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key_pair(tmp_path / "keys")


@pytest.fixture
def folder(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the tiny artifact, to sign and to damage."""
    return shutil.copytree(tiny_artifact, tmp_path / "copy")


def verify(folder: Path, *public_keys: Path) -> None:
    signing.verify(read_files(folder), public_keys)


def test_what_was_signed_verifies_and_keeps_its_identity(folder: Path, keys: Keys) -> None:
    digest = artifact.digest(folder)
    assert signing.sign(folder, keys[0]) == folder / "model.sig"
    verify(folder, keys[1])
    assert artifact.digest(folder) == digest
    artifact.load(folder)


def test_a_key_with_a_password_signs(folder: Path, tmp_path: Path) -> None:
    private, public = make_key_pair(tmp_path / "locked", PASSWORD)
    with pytest.raises(FileError, match=r"key.pem: cannot be used as a private key: .*Password"):
        signing.sign(folder, private)
    signing.sign(folder, private, PASSWORD)
    verify(folder, public)


def test_an_unsigned_artifact_is_refused(folder: Path, keys: Keys) -> None:
    with pytest.raises(SignatureError, match=r"is not signed: it has no model.sig"):
        verify(folder, keys[1])


def test_another_key_is_refused(folder: Path, keys: Keys, tmp_path: Path) -> None:
    signing.sign(folder, make_key_pair(tmp_path / "stranger")[0])
    with pytest.raises(SignatureError, match=r"is not signed by key.pub, or was changed since: Key mismatch"):
        verify(folder, keys[1])


def test_another_key_that_claims_to_be_ours_is_refused(folder: Path, keys: Keys, tmp_path: Path) -> None:
    """The signature names its key by a hash, which anyone can write."""
    signing.sign(folder, keys[0])
    ours = (folder / "model.sig").read_text()
    stranger = make_key_pair(tmp_path / "stranger")
    signing.sign(folder, stranger[0])
    forged = (folder / "model.sig").read_text().replace(hint(stranger[1]), hint(keys[1]))
    assert hint(keys[1]) in ours and hint(keys[1]) in forged
    (folder / "model.sig").write_text(forged)
    with pytest.raises(SignatureError, match=r"is not signed by key.pub"):
        verify(folder, keys[1])


def hint(public_key: Path) -> str:
    return hashlib.sha256(public_key.read_bytes()).hexdigest()


def add(folder: Path) -> None:
    (folder / "extra.py").write_text("import os")


def flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-2] ^= 1
        (folder / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    "change",
    [
        add,
        *(flip(name) for name in ("manifest.json", *artifact.FILES, artifact.CARD)),
        lambda folder: (folder / artifact.GOLDEN).unlink(),
        lambda folder: (folder / "model.sig").write_text("{}"),
    ],
    ids=["another-file", "manifest", *artifact.FILES, "card", "a-file-less", "no-signature-in-it"],
)
def test_whatever_was_changed_after_signing_is_refused(
    folder: Path, keys: Keys, change: Callable[[Path], None]
) -> None:
    signing.sign(folder, keys[0])
    change(folder)
    with pytest.raises(SignatureError, match=r"is not signed by key.pub, or was changed since"):
        verify(folder, keys[1])


@pytest.mark.parametrize("content", [None, b"", b"no key", "rsa"], ids=["missing", "empty", "text", "rsa"])
def test_what_is_no_key_is_named(folder: Path, tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "wrong.pem"
    if content == "rsa":
        subprocess.run(["openssl", "genrsa", "-out", path, "2048"], check=True, capture_output=True)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(FileError, match=r"wrong.pem: cannot be used as a private key: .*; make one with"):
        signing.sign(folder, path)
    with pytest.raises(FileError, match=r"wrong.pem: cannot be used as a public key: .*; make one with"):
        signing.check_keys([path])


@pytest.mark.parametrize("in_one_file", [True, False])
@pytest.mark.parametrize("signer", ["old", "new"])
def test_keys_are_rotated_by_trusting_both_for_a_while(
    folder: Path, tmp_path: Path, signer: str, in_one_file: bool
) -> None:
    pairs = {name: make_key_pair(tmp_path / name) for name in ("old", "new", "stranger")}
    publics = [pairs["old"][1], pairs["new"][1]]
    if in_one_file:
        both = tmp_path / "both.pub"
        both.write_bytes(b"# Two keys.\n" + b"".join(path.read_bytes() for path in publics))
        publics = [both]
    signing.sign(folder, pairs[signer][0])
    verify(folder, *publics)
    signing.sign(folder, pairs["stranger"][0])
    with pytest.raises(SignatureError, match=r"is not signed by (both.pub|key.pub or key.pub), or was changed since"):
        verify(folder, *publics)


def test_a_list_without_a_key_is_no_permission(folder: Path) -> None:
    with pytest.raises(ValueError, match="no public key"):
        verify(folder)


@pytest.mark.parametrize("value", ["1", "true"])
@pytest.mark.parametrize("keys_text", ["", " , "])
def test_requiring_signatures_without_a_key_is_refused(
    value: str, keys_text: str, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANMINT_REQUIRE_SIGNED", value)
    monkeypatch.setenv("GANMINT_PUBLIC_KEY", keys_text)
    with pytest.raises(InputError, match="GANMINT_PUBLIC_KEY: must name the PEM file"):
        artifact.load(tiny_artifact)
    monkeypatch.setenv("GANMINT_REQUIRE_SIGNED", "perhaps")
    with pytest.raises(InputError, match="GANMINT_REQUIRE_SIGNED: must be 0 or 1, got 'perhaps'"):
        artifact.load(tiny_artifact)


@pytest.mark.parametrize("first_are", ["signed", "swapped"])
def test_a_signature_is_checked_on_the_bytes_that_are_loaded(
    first_are: str, folder: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker swaps the signed files for his own, or his own for the signed ones, as soon as they were read."""
    signing.sign(folder, keys[0])
    signed = shutil.copytree(folder, tmp_path / "signed")
    swapped = shutil.copytree(folder, tmp_path / "swapped")
    flip("generator.safetensors")(swapped)
    first, then = (signed, swapped) if first_are == "signed" else (swapped, signed)
    shutil.copytree(first, folder, dirs_exist_ok=True)

    def read_then_swap(read: Path) -> ArtifactFiles:
        files = read_files(read)
        shutil.copytree(then, folder, dirs_exist_ok=True)
        return files

    monkeypatch.setattr(artifact, "read_files", read_then_swap)
    trust = signing.Trust((keys[1],))
    if first_are == "signed":
        files = artifact.read(folder, trust)
        assert files.get("generator.safetensors") == (signed / "generator.safetensors").read_bytes()
    else:
        with pytest.raises(SignatureError):
            artifact.read(folder, trust)


def test_installing_takes_the_signature_along(folder: Path, keys: Keys, store_home: Path) -> None:
    signing.sign(folder, keys[0])
    verify(store.install(folder).path, keys[1])


def test_installing_again_brings_a_signature_that_came_later(folder: Path, keys: Keys, store_home: Path) -> None:
    stored = store.install(folder)
    signing.sign(folder, keys[0])
    assert store.install(folder) == stored
    verify(stored.path, keys[1])


def test_a_signature_made_in_the_store_is_good_elsewhere(folder: Path, keys: Keys, store_home: Path) -> None:
    stored = store.install(folder)
    signature = signing.sign(stored.path, keys[0])
    shutil.copy(signature, folder)
    verify(folder, keys[1])


def test_the_standards_own_tool_agrees(folder: Path, keys: Keys, store_home: Path) -> None:
    stored = store.install(folder).path
    signature = signing.sign(stored, keys[0])
    command = ["model_signing", "verify", "key", str(stored), "--signature", str(signature)]
    command += ["--public_key", str(keys[1]), "--ignore-paths", str(stored / "model.yaml")]
    done = subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr
