"""Content Credentials: what a signed file says, what is refused, and that nothing else of the file changes."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import content_credentials, images
from models.content_credentials import ASSERTION, Signer, SigningKey, load_signing_key
from models.errors import FileError, InputError
from models.images import MEDIA_TYPES, MediaType
from models.marks import read_marks
from models.picture_file import find_credentials, remove_credentials
from tests.c2pa_keys import SUBJECT, make_chain, needs_c2pa

DESCRIPTION = {"addresses": ["tiny/1.0.0/7/0?label=1"], "model": "tiny", "version": "1.0.0"}
ADDRESS = DESCRIPTION["addresses"][0]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return load_signing_key(*make_chain(tmp_path_factory.mktemp("c2pa") / "keys"), "--key")


def make_file(media_type: MediaType) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    return images.encode(pixels, media_type, ADDRESS)


def sign(key: SigningKey, file: bytes, media_type: MediaType) -> bytes:
    return Signer(key).sign(file, media_type, ADDRESS, DESCRIPTION)


@needs_c2pa
@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_signed_file_without_its_credentials_is_the_file_that_was_signed(
    key: SigningKey, media_type: MediaType
) -> None:
    file = make_file(media_type)
    signed = sign(key, file, media_type)
    assert find_credentials(signed) and signed != file
    assert remove_credentials(signed) == file
    assert read_marks(signed) == read_marks(file)
    assert not find_credentials(file) and remove_credentials(file) == file


@needs_c2pa
@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_signed_file_says_who_signed_it_and_is_valid(key: SigningKey, media_type: MediaType) -> None:
    credentials = content_credentials.read(sign(key, make_file(media_type), media_type), media_type)
    assert credentials.is_valid and not credentials.problems
    assert credentials.signed_by == "Test Organisation, Test signer"
    assert credentials.claim_generator.startswith("Ganmint ")


@needs_c2pa
def test_the_library_reads_that_the_picture_was_created_by_a_model_and_from_which_address(key: SigningKey) -> None:
    import c2pa

    signed = sign(key, make_file("image/png"), "image/png")
    with c2pa.Reader("image/png", io.BytesIO(signed)) as reader:
        report: dict[str, Any] = json.loads(reader.json())
    manifest = report["manifests"][report["active_manifest"]]
    assertions = {item["label"]: item["data"] for item in manifest["assertions"]}
    assert assertions["c2pa.actions.v2"]["actions"] == [
        {"action": "c2pa.created", "digitalSourceType": images.SOURCE_TYPE}
    ]
    assert assertions[ASSERTION] == DESCRIPTION
    assert "thumbnail" not in manifest
    assert report["validation_state"] == "Valid"


@needs_c2pa
def test_a_change_of_a_signed_file_makes_its_signature_invalid(key: SigningKey) -> None:
    signed = bytearray(sign(key, make_file("image/png"), "image/png"))
    # In the pixels, before the last chunk of 12 bytes.
    signed[-20] ^= 1
    credentials = content_credentials.read(bytes(signed), "image/png")
    assert credentials.is_valid is False
    assert "assertion.dataHash.mismatch" in credentials.problems


@needs_c2pa
def test_credentials_that_are_no_credentials_are_invalid() -> None:
    file = make_file("image/png")
    junk = file[:33] + b"\0\0\0\x04caBXjunk\x9c\x1e\x9c\x1e" + file[33:]
    credentials = content_credentials.read(junk, "image/png")
    assert credentials.is_valid is False and credentials.problems and not credentials.signed_by


@needs_c2pa
def test_a_key_names_its_signer_and_goes_to_another_process_without_being_shown(key: SigningKey) -> None:
    assert key.subject == SUBJECT and key.algorithm == "es256"
    assert "PRIVATE" not in repr(key)
    copy = pickle.loads(pickle.dumps(key))
    assert content_credentials.read(sign(copy, make_file("image/png"), "image/png"), "image/png").is_valid


@needs_c2pa
def test_two_signatures_of_a_file_differ(key: SigningKey) -> None:
    file = make_file("image/png")
    assert sign(key, file, "image/png") != sign(key, file, "image/png")


@needs_c2pa
def test_a_key_in_the_older_form_of_openssl_is_read(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key_file, chain = make_chain(tmp_path / "keys")
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
    pem, older = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    key_file.write_bytes(loaded.private_bytes(pem, older, serialization.NoEncryption()))
    assert b"EC PRIVATE KEY" in key_file.read_bytes()
    assert load_signing_key(key_file, chain, "--key").algorithm == "es256"


def other_key(folder: Path) -> tuple[Path, Path]:
    return make_chain(folder / "a")[0], make_chain(folder / "b")[1]


def reversed_chain(folder: Path) -> tuple[Path, Path]:
    key, chain = make_chain(folder / "a")
    first, second = chain.read_text().split("-----END CERTIFICATE-----\n")[:2]
    end = "-----END CERTIFICATE-----\n"
    chain.write_text(second + end + first + end)
    return key, chain


def foreign_issuer(folder: Path) -> tuple[Path, Path]:
    key, chain = make_chain(folder / "a")
    end = "-----END CERTIFICATE-----\n"
    first = chain.read_text().partition(end)[0] + end
    chain.write_text(first + make_chain(folder / "b")[1].read_text().split(end)[1] + end)
    return key, chain


def swapped(folder: Path) -> tuple[Path, Path]:
    key, chain = make_chain(folder / "a")
    return chain, key


def cut_key(folder: Path) -> tuple[Path, Path]:
    key, chain = make_chain(folder / "a")
    key.write_bytes(key.read_bytes()[:80])
    return key, chain


def empty_chain(folder: Path) -> tuple[Path, Path]:
    key, chain = make_chain(folder / "a")
    chain.write_bytes(b"")
    return key, chain


BAD_KEYS: dict[str, tuple[Any, str, str]] = {
    "another key": (other_key, "chain.pem", "is not of the key .*key.pem: give the key of its first certificate"),
    "reversed": (reversed_chain, "chain.pem", "the certificate of the key must be its first one"),
    "foreign issuer": (foreign_issuer, "chain.pem", "certificate 2 did not issue certificate 1"),
    "expired": (lambda f: make_chain(f / "a", days=(-30, -2)), "chain.pem", "certificate 1 of 2 expired on 20.*renew"),
    "not yet": (lambda f: make_chain(f / "a", days=(2, 30)), "chain.pem", "certificate 1 of 2 is not valid before 20"),
    "encrypted": (lambda f: make_chain(f / "a", password="secret"), "key.pem", "is encrypted; .*openssl pkey"),
    "no usage": (
        lambda f: make_chain(f / "a", usage=False),
        "chain.pem",
        "cannot sign Content Credentials: .*emailProtection",
    ),
    "swapped": (swapped, "chain.pem", "holds no private key in PEM"),
    "cut key": (cut_key, "key.pem", "holds no private key in PEM"),
    "empty chain": (empty_chain, "chain.pem", "holds no certificates in PEM"),
    "no key": (lambda f: (f / "key.pem", make_chain(f / "a")[1]), "key.pem", "cannot be read: No such file"),
    "no chain": (lambda f: (make_chain(f / "a")[0], f / "chain.pem"), "chain.pem", "cannot be read: No such file"),
}


@needs_c2pa
@pytest.mark.parametrize("case", BAD_KEYS)
def test_a_key_that_cannot_sign_is_refused_by_the_file_at_fault(tmp_path: Path, case: str) -> None:
    make, file, message = BAD_KEYS[case]
    key_file, chain_file = make(tmp_path)
    with pytest.raises(FileError, match=message) as raised:
        load_signing_key(key_file, chain_file, "--key")
    assert Path(raised.value.path).name == file


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(InputError, match=r"--c2pa-key: needs c2pa-python: pip install '\.\[c2pa\]'"):
        load_signing_key(tmp_path / "key.pem", tmp_path / "chain.pem", "--c2pa-key")
    credentials = content_credentials.read(b"", "image/png")
    assert credentials.is_valid is None and ".[c2pa]" in credentials.problems[0]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_file_that_is_cut_short_has_no_credentials_to_find(media_type: MediaType) -> None:
    with pytest.raises(ValueError, match="is cut short"):
        find_credentials(make_file(media_type)[:60])
