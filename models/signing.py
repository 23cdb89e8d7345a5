"""Sign artifacts with an operator's own key, and verify them (OpenSSF Model Signing v1.0).

The signature, `model.sig`, lies beside the files that it covers. It does not cover itself, so the artifact's digest
stays the same. Any tool of the standard can check it:

    model_signing verify key FOLDER --signature FOLDER/model.sig --public_key KEY --ignore-paths FOLDER/model.yaml
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from models.artifact import TRAINING_STATE
from models.errors import FileError, GanmintError, SignatureError
from models.files import write_atomically

SIGNATURE = "model.sig"
# BentoML writes model.yaml into its store; it differs between two copies of the same artifact. The training state lies
# elsewhere in the store; its hash is in the manifest, which is signed.
UNSIGNED = (SIGNATURE, "model.yaml", TRAINING_STATE)


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


def verify(folder: Path, public_key: Path) -> None:
    """Check that this key signed every file of an artifact as it is now, and that there is no other file.

    Args: folder, an artifact; public_key, PEM.
    Raises:
        SignatureError: it is not signed, not by this key, or was changed since.
        FileError: the key cannot be used.
    """
    verifier = _make_verifier(public_key)
    if not (folder / SIGNATURE).is_file():
        raise SignatureError(folder, f"is not signed: it has no {SIGNATURE}; sign it with: ganmint models sign")
    try:
        verifier.set_hashing_config(_hashing_config()).verify(folder, folder / SIGNATURE)
    # Any failure means that the signature is not proved.
    except Exception as error:
        raise SignatureError(
            folder, f"is not signed by {public_key.name}, or was changed since: {_describe(error)}"
        ) from None


def check_key(public_key: Path) -> None:
    """Check that a key can verify signatures.

    Raises: FileError naming the key; GanmintError where a package is missing.
    """
    _make_verifier(public_key)


_MAKE_KEYS = (
    "make one with: openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem; openssl ec -in KEY.pem -pubout"
)


def _make_verifier(public_key: Path) -> Any:
    *_, verifying = _import_library()
    try:
        return verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except Exception as error:
        raise FileError(public_key, f"cannot be used as a public key: {_describe(error)}; {_MAKE_KEYS}") from None


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
    return str(error).splitlines()[0] if str(error) else type(error).__name__
