"""Signatures of artifacts by an operator's own key (OpenSSF Model Signing v1.0).

Knows: which files of an artifact are signed, where the signature lies, how it is made and checked. Does
not know: the model store, who must sign what.

The signature, `model.sig`, lies beside the files that it covers and is none of them, so that the artifact's
digest stays what it was. Any tool of the standard can check it:

    model_signing verify key FOLDER --signature FOLDER/model.sig --public_key KEY --ignore-paths FOLDER/model.yaml
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from models.errors import FileError, GanmintError, SignatureError
from models.files import write_atomically

SIGNATURE = "model.sig"
# BentoML's note on the copy in its store: it differs between two copies of the same artifact.
UNSIGNED = (SIGNATURE, "model.yaml")


def sign(folder: Path, private_key: Path, password: str | None = None) -> Path:
    """Sign all files of an artifact; a signature that is there is replaced.

    Args:
        folder: an artifact, its files checked by the caller.
        private_key: PEM, an elliptic curve key (P-256, P-384 or P-521).
        password: of the key, where it has one.
    Returns: the signature's path.
    Raises: FileError naming the key, or the folder where it cannot be written.
    """
    _, signing, _ = _library()
    try:
        signer = signing.Config().use_elliptic_key_signer(
            private_key=private_key, password=password.encode() if password else None
        )
    # What is wrong with a key is told by many exceptions, some of them not of the library's.
    except Exception as error:
        raise FileError(private_key, f"cannot be used as a private key: {_reason(error)}; {_KEYS}") from None
    signer.set_hashing_config(_hashing())
    try:
        with tempfile.TemporaryDirectory() as aside:
            made = Path(aside) / SIGNATURE
            signer.sign(folder, made)
            write_atomically(folder / SIGNATURE, made.read_bytes())
    except OSError as error:
        raise FileError(folder / SIGNATURE, f"cannot be written: {error.strerror or error}") from None
    return folder / SIGNATURE


def verify(folder: Path, public_key: Path) -> None:
    """Check that every file of an artifact is as it was signed, by this key, and that there is no other file.

    Args: folder, an artifact; public_key, PEM.
    Raises:
        SignatureError: it is not signed, not by this key, or was changed since.
        FileError: the key cannot be used.
    """
    verifier = _verifier(public_key)
    if not (folder / SIGNATURE).is_file():
        raise SignatureError(folder, f"is not signed: it has no {SIGNATURE}; sign it with: ganmint models sign")
    try:
        verifier.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE)
    # Whatever stands in the way of a proof: without one, the answer is no.
    except Exception as error:
        raise SignatureError(
            folder, f"is not signed by {public_key.name}, or was changed since: {_reason(error)}"
        ) from None


def check_key(public_key: Path) -> None:
    """Whether signatures can be checked with it.

    Raises: FileError naming the key; GanmintError where a package is missing.
    """
    _verifier(public_key)


_KEYS = "make one with: openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem; openssl ec -in KEY.pem -pubout"


def _verifier(public_key: Path) -> Any:
    *_, verifying = _library()
    try:
        return verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:
        raise FileError(public_key, f"cannot be used as a public key: {_reason(error)}; {_KEYS}") from None


def _hashing() -> Any:
    hashing, *_ = _library()
    return hashing.Config().set_ignored_paths(paths=UNSIGNED, ignore_git_paths=False)


def _library() -> tuple[Any, Any, Any]:
    """Imported when it is needed: it takes seconds, and most never sign."""
    try:
        from model_signing import hashing, signing, verifying
    except ModuleNotFoundError as error:
        raise GanmintError(f"signatures need {error.name}; install it with: pip install 'ganmint[sign]'") from None
    return hashing, signing, verifying


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
