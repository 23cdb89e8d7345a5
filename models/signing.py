"""Sign artifacts with an operator's own key, and decide which may be loaded (OpenSSF Model Signing v1.0).

The signature, `model.sig`, lies beside the files that it covers. It does not cover itself, so the artifact's digest
stays the same. Any tool of the standard can check it:

    model_signing verify key FOLDER --signature FOLDER/model.sig --public_key KEY --ignore-paths FOLDER/model.yaml
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.artifact_files import TRAINING_STATE, ArtifactFiles
from models.errors import FileError, GanmintError, InputError, SignatureError, first_line
from models.files import write_atomically

SIGNATURE = "model.sig"
# BentoML writes model.yaml into its store; it differs between two copies of the same artifact. The training state lies
# elsewhere in the store; its hash is in the manifest, which is signed.
UNSIGNED = (SIGNATURE, "model.yaml", TRAINING_STATE)
REQUIRE_VARIABLE = "GANMINT_REQUIRE_SIGNED"
KEY_VARIABLE = "GANMINT_PUBLIC_KEY"
PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\s*", re.DOTALL)


@dataclass(frozen=True)
class Trust:
    """Whose artifacts may be loaded: the one place that decides.

    Attributes:
        keys: PEM files with public keys, one of which must have signed; none: any artifact may be loaded.
    """

    keys: tuple[Path, ...] = ()

    def check(self, files: ArtifactFiles) -> None:
        """Check that these files may be loaded.

        Raises: as `verify`.
        """
        if self.keys:
            verify(files, self.keys)


ANY = Trust()


def read_trust() -> Trust:
    """Return what GANMINT_REQUIRE_SIGNED and GANMINT_PUBLIC_KEY say.

    Raises: InputError naming the variable.
    """
    text = os.environ.get(REQUIRE_VARIABLE) or "0"
    try:
        is_required = TypeAdapter(bool).validate_strings(text)
    except ValidationError:
        raise InputError(f"must be 0 or 1, got {text!r}", REQUIRE_VARIABLE) from None
    return make_trust(is_required, os.environ.get(KEY_VARIABLE, ""))


def make_trust(is_required: bool, public_keys: str) -> Trust:
    """Return whose artifacts may be loaded.

    Args: is_required, whether a signature is; public_keys, paths of PEM files, comma-separated.
    Raises: InputError where a signature is required and no key is given.
    """
    if not is_required:
        return ANY
    paths = tuple(Path(part.strip()).expanduser() for part in public_keys.split(",") if part.strip())
    if not paths:
        raise InputError("must name the PEM file of the key that models must be signed with", KEY_VARIABLE)
    return Trust(paths)


def sign(folder: Path, private_key: Path, password: str | None = None) -> Path:
    """Sign all files of an artifact; an existing signature is replaced.

    Args:
        folder: an artifact whose files the caller has checked.
        private_key: PEM, an elliptic curve key (P-256, P-384 or P-521).
        password: of the key, where it has one.
    Returns: the signature's path.
    Raises: FileError naming the key, or the folder where it cannot be written.
    """
    _, signing, _ = _import_library()
    try:
        signer = signing.Config().use_elliptic_key_signer(
            private_key=private_key, password=password.encode() if password else None
        )
    # A bad key raises many kinds of exceptions, some of them not the library's own.
    except Exception as error:
        raise FileError(private_key, f"cannot be used as a private key: {_describe(error)}; {_MAKE_KEYS}") from None
    signer.set_hashing_config(_hashing_config())
    try:
        with tempfile.TemporaryDirectory() as temporary_dir:
            signature = Path(temporary_dir) / SIGNATURE
            signer.sign(folder, signature)
            write_atomically(folder / SIGNATURE, signature.read_bytes())
    except OSError as error:
        raise FileError(folder / SIGNATURE, f"cannot be written: {error.strerror or error}") from None
    return folder / SIGNATURE


def verify(files: ArtifactFiles, public_keys: Sequence[Path]) -> None:
    """Check that one of these keys signed every file as it was read, and that there was no other file.

    Args: files, an artifact's; public_keys, PEM files with one key or several.
    Raises:
        SignatureError: it is not signed, not by these keys, or was changed since.
        FileError: a key cannot be used.
        OSError: there is no room for the files in the folder for temporary files.
    """
    if not public_keys:
        raise ValueError("no public key is given")
    with tempfile.TemporaryDirectory(prefix="ganmint-") as private_dir:
        verifiers = _make_verifiers(public_keys, Path(private_dir))
        if SIGNATURE not in files.contents:
            raise SignatureError(
                files.folder, f"is not signed: it has no {SIGNATURE}; sign it with: ganmint models sign"
            )
        # The library reads files. These are ours alone: nobody can change them between its reading and our loading.
        copy = Path(private_dir) / "files"
        for name, data in files.contents.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(data)
        reasons = [_find_fault(verifier, copy) for verifier in verifiers]
    if None in reasons:
        return
    # Where one of several keys did sign, what that one says is of use.
    reason = min((reason for reason in reasons if reason), key=lambda reason: reason.startswith("Key mismatch"))
    names = " or ".join(path.name for path in public_keys)
    raise SignatureError(files.folder, f"is not signed by {names}, or was changed since: {reason}")


def check_keys(public_keys: Sequence[Path]) -> None:
    """Check that keys can verify signatures.

    Raises: FileError naming the key; GanmintError where a package is missing.
    """
    if public_keys:
        with tempfile.TemporaryDirectory(prefix="ganmint-") as private_dir:
            _make_verifiers(public_keys, Path(private_dir))


_MAKE_KEYS = (
    "make one with: openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem; openssl ec -in KEY.pem -pubout"
)


def _make_verifiers(public_keys: Sequence[Path], private_dir: Path) -> list[Any]:
    """Return a verifier for each key of these files; the library takes files of one key each."""
    *_, verifying = _import_library()
    verifiers: list[Any] = []
    for path in public_keys:
        try:
            data = path.read_bytes()
            for block in [match[0] for match in PEM_BLOCK.finditer(data)] or [data]:
                single = private_dir / f"{len(verifiers)}.pem"
                single.write_bytes(block)
                verifiers.append(verifying.Config().use_elliptic_key_verifier(public_key=single))
        # A bad key raises many kinds of exceptions, some of them not the library's own.
        except Exception as error:
            raise FileError(path, f"cannot be used as a public key: {_describe(error)}; {_MAKE_KEYS}") from None
    return verifiers


def _find_fault(verifier: Any, folder: Path) -> str | None:
    """Return why a signature is not proved, None where it is."""
    try:
        verifier.set_hashing_config(_hashing_config()).verify(folder, folder / SIGNATURE)
    # Any failure means that the signature is not proved.
    except Exception as error:
        return _describe(error)
    return None


def _hashing_config() -> Any:
    hashing, *_ = _import_library()
    return hashing.Config().set_ignored_paths(paths=UNSIGNED, ignore_git_paths=False)


def _import_library() -> tuple[Any, Any, Any]:
    """Import the library only when it is needed, because that takes seconds."""
    try:
        from model_signing import hashing, signing, verifying
    except ModuleNotFoundError as error:
        raise GanmintError(
            f"signatures need {error.name}; install it with: pip install '.[sign]' (in the checkout)"
        ) from None
    return hashing, signing, verifying


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
