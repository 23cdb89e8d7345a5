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
from models.errors import FileError, SignatureError
from tests.signing_keys import Keys, make_key_pair

PASSWORD = "of the key"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key_pair(tmp_path / "keys")


@pytest.fixture
def folder(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the tiny artifact, to sign and to damage."""
    return shutil.copytree(tiny_artifact, tmp_path / "copy")


def test_what_was_signed_verifies_and_keeps_its_identity(folder: Path, keys: Keys) -> None:
    digest = artifact.digest(folder)
    assert signing.sign(folder, keys[0]) == folder / "model.sig"
    signing.verify(folder, keys[1])
    assert artifact.digest(folder) == digest
    artifact.load(folder)


def test_a_key_with_a_password_signs(folder: Path, tmp_path: Path) -> None:
    private, public = make_key_pair(tmp_path / "locked", PASSWORD)
    with pytest.raises(FileError, match=r"key.pem: cannot be used as a private key: .*Password"):
        signing.sign(folder, private)
    signing.sign(folder, private, PASSWORD)
    signing.verify(folder, public)


def test_an_unsigned_artifact_is_refused(folder: Path, keys: Keys) -> None:
    with pytest.raises(SignatureError, match=r"is not signed: it has no model.sig"):
        signing.verify(folder, keys[1])


def test_another_key_is_refused(folder: Path, keys: Keys, tmp_path: Path) -> None:
    signing.sign(folder, make_key_pair(tmp_path / "stranger")[0])
    with pytest.raises(SignatureError, match=r"is not signed by key.pub, or was changed since: Key mismatch"):
        signing.verify(folder, keys[1])


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
        signing.verify(folder, keys[1])


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
        signing.verify(folder, keys[1])


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
        signing.check_key(path)


def test_installing_takes_the_signature_along(folder: Path, keys: Keys, store_home: Path) -> None:
    signing.sign(folder, keys[0])
    signing.verify(store.install(folder).path, keys[1])


def test_installing_again_brings_a_signature_that_came_later(folder: Path, keys: Keys, store_home: Path) -> None:
    stored = store.install(folder)
    signing.sign(folder, keys[0])
    assert store.install(folder) == stored
    signing.verify(stored.path, keys[1])


def test_a_signature_made_in_the_store_is_good_elsewhere(folder: Path, keys: Keys, store_home: Path) -> None:
    stored = store.install(folder)
    signature = signing.sign(stored.path, keys[0])
    shutil.copy(signature, folder)
    signing.verify(folder, keys[1])


def test_the_standards_own_tool_agrees(folder: Path, keys: Keys, store_home: Path) -> None:
    stored = store.install(folder).path
    signature = signing.sign(stored, keys[0])
    command = ["model_signing", "verify", "key", str(stored), "--signature", str(signature)]
    command += ["--public_key", str(keys[1]), "--ignore-paths", str(stored / "model.yaml")]
    done = subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "Verification succeeded"), done.stderr
