"""Content Credentials (C2PA): sign picture files of Ganmint, and read by whom a file was signed.

c2pa-python does it, the extra `c2pa`. A signature has a random part, so signed bytes differ each time; without the
credentials (`models.picture_file.remove_credentials`) they are the bytes that were minted. Nothing here uses the
network.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from models.address import Address
from models.base import Frozen
from models.errors import FileError, InputError
from models.files import read_file
from models.images import SOURCE_TYPE, MediaType
from models.manifest import Manifest
from models.png import encode_png

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

# Ganmint's own assertion: which address of which model the image is.
ASSERTION = "ganmint.image"
# Nobody is asked over the network, neither when signing nor when reading. A thumbnail would be larger than the image.
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
# No list of trusted signers is at hand, so that every signer is untrusted.
_UNTRUSTED = "signingCredential.untrusted"
# C2PA 2.2, section 14.5.1, in short.
_ASKED = (
    "C2PA asks for a certificate that another one has issued, "
    "with the key usage digitalSignature and the extended key usage emailProtection or documentSigning"
)
# C2PA 2.2, section 13.2: algorithms by the size of an elliptic curve.
_CURVES = {256: "es256", 384: "es384", 521: "es512"}


@dataclass(frozen=True)
class SigningKey:
    """A private key and its certificates, checked to fit. Can be sent to another process of this machine.

    Attributes:
        algorithm: by C2PA's name, such as es256.
        certificates: PEM, the key's own first.
        subject: whom the key's certificate names, such as CN=Signer,O=Organisation.
        key: PEM, PKCS #8, not encrypted.
    """

    algorithm: str
    certificates: bytes
    subject: str
    key: bytes = field(repr=False)


class ContentCredentials(Frozen):
    """What the Content Credentials of a file say, and whether they are of this file."""

    signed_by: str = Field(default="", description="whom the certificate names; empty where that cannot be read")
    claim_generator: str = Field(default="", description="the program that wrote them, by its own word")
    is_valid: bool | None = Field(
        description="whether the signature is the certificate's and nothing was changed since; null if not checked. "
        "Whether the signer is to be trusted is not checked"
    )
    problems: tuple[str, ...] = Field(default=(), description="why it is not valid, by C2PA's status codes")


def is_installed() -> bool:
    """Whether the extra `c2pa` is installed."""
    try:
        import c2pa  # noqa: F401
    except ImportError:
        return False
    return True


def load_signing_key(key_path: Path, chain_path: Path, option: str) -> SigningKey:
    """Read a private key and its certificate chain, and sign and read a first picture with them.

    Args:
        key_path: PEM file of a private key, not encrypted.
        chain_path: PEM file of certificates: the key's own first, then the one that issued it, and so on.
        option: the option that names the key, for the error.
    Raises: InputError when the extra is missing; FileError naming the file at fault and what is wrong.
    """
    if not is_installed():
        raise InputError("needs c2pa-python: pip install '.[c2pa]' (in the checkout)", option)
    from cryptography.hazmat.primitives import serialization

    key = _read_key(key_path)
    chain = _read_chain(chain_path)
    _check_chain(key, chain, key_path, chain_path)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    signing_key = SigningKey(
        algorithm=_find_algorithm(key, key_path),
        certificates=b"".join(certificate.public_bytes(pem) for certificate in chain),
        subject=chain[0].subject.rfc4514_string(),
        key=key.private_bytes(pem, pkcs8, serialization.NoEncryption()),
    )
    _try_out(signing_key, chain_path)
    return signing_key


def _read_key(path: Path) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        return serialization.load_pem_private_key(read_file(path), None)
    # This is how cryptography says that a password is missing.
    except TypeError:
        raise FileError(path, "is encrypted; write it decrypted: openssl pkey -in KEY -out NEWKEY") from None
    except (ValueError, UnsupportedAlgorithm):
        raise FileError(path, "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None


def _read_chain(path: Path) -> list[Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(read_file(path))
    except ValueError:
        raise FileError(path, "holds no certificates in PEM (-----BEGIN CERTIFICATE-----)") from None


def _check_chain(key: PrivateKeyTypes, chain: list[Certificate], key_path: Path, chain_path: Path) -> None:
    if chain[0].public_key() != key.public_key():
        advice = "give the key of its first certificate"
        if any(certificate.public_key() == key.public_key() for certificate in chain):
            advice = "the certificate of the key must be its first one"
        raise FileError(chain_path, f"is not of the key {key_path}: {advice}")
    now = datetime.now(timezone.utc)
    for number, certificate in enumerate(chain, 1):
        which = "the certificate" if len(chain) == 1 else f"certificate {number} of {len(chain)}"
        if now > certificate.not_valid_after_utc:
            raise FileError(chain_path, f"{which} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it")
        if now < certificate.not_valid_before_utc:
            raise FileError(chain_path, f"{which} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}")
    for number, (certificate, issuer) in enumerate(pairwise(chain), 1):
        try:
            certificate.verify_directly_issued_by(issuer)
        # cryptography raises one of several, by what does not fit.
        except Exception:
            message = f"certificate {number + 1} did not issue certificate {number}; put each before its issuer's"
            raise FileError(chain_path, message) from None


def _find_algorithm(key: PrivateKeyTypes, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name.startswith("secp") and key.key_size in _CURVES:
        return _CURVES[key.key_size]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise FileError(path, "is a key that C2PA does not know; use P-256, P-384, P-521, Ed25519 or RSA")


def _try_out(signing_key: SigningKey, chain_path: Path) -> None:
    """Sign an empty picture and read it back, which shows what else C2PA asks of a certificate."""
    picture = encode_png(np.zeros((1, 1, 1), np.uint8))
    try:
        signed = Signer(signing_key, chain_path).sign(picture, "image/png", "trial", {})
    except FileError as error:
        raise FileError(chain_path, f"{error.reason}; {_ASKED}") from None
    if problems := read(signed, "image/png").problems:
        raise FileError(chain_path, f"cannot sign Content Credentials: {', '.join(problems)}; {_ASKED}")


class Signer:
    """Signs picture files with one key.

    Args: name: of the certificates, for errors.
    Raises: FileError when c2pa-python refuses the key or its certificates.
    """

    def __init__(self, key: SigningKey, name: Path | str = "the certificate") -> None:
        import c2pa

        self._c2pa: Any = c2pa
        self._name = name
        try:
            signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(key.algorithm, key.certificates, key.key, None))
            self._context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS), signer)
        except c2pa.C2paError as error:
            raise FileError(name, f"cannot sign Content Credentials: {error}") from None

    def sign_image(self, file: bytes, media_type: MediaType, address: Address, manifest: Manifest) -> bytes:
        """Return the file of a minted image with Content Credentials.

        Args: manifest: of the model that minted it.
        Raises: FileError when the certificate has expired meanwhile.
        """
        return self.sign(file, media_type, str(address), describe_image([address], manifest))

    def sign(self, file: bytes, media_type: MediaType, title: str, description: dict[str, Any]) -> bytes:
        """Return a file with Content Credentials.

        Args: title: of the picture; description: the content of Ganmint's own assertion.
        Raises: FileError when c2pa-python refuses it, as it does when the certificate has expired meanwhile.
        """
        created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        claim = {
            "claim_generator_info": [{"name": "Ganmint", "version": version("ganmint")}],
            "title": title,
            "assertions": [
                {"label": "c2pa.actions", "data": {"actions": [created]}},
                {"label": ASSERTION, "data": description},
            ],
        }
        signed = io.BytesIO()
        try:
            with self._c2pa.Builder(json.dumps(claim), self._context) as builder:
                builder.sign(media_type, io.BytesIO(file), signed)
        except self._c2pa.C2paError as error:
            raise FileError(self._name, f"cannot sign Content Credentials: {error}") from None
        return signed.getvalue()


def describe_image(addresses: list[Address], manifest: Manifest) -> dict[str, Any]:
    """Return the content of Ganmint's own assertion: what a picture shows, and the terms of its model.

    Args: addresses: of the images in the picture, all of the manifest's model.
    """
    data = manifest.training.data
    return {
        "addresses": [str(address) for address in addresses],
        "model": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "data": {"name": data.name, "licence": data.licence, "attribution": data.attribution},
    }


def read(data: bytes, media_type: MediaType) -> ContentCredentials:
    """Read the Content Credentials of a file that has some; without the extra, say only that they are there."""
    if not is_installed():
        return ContentCredentials(is_valid=None, problems=("to read them: pip install '.[c2pa]' (in the checkout)",))
    import c2pa

    try:
        context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))
        with c2pa.Reader(media_type, io.BytesIO(data), context=context) as reader:
            report: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError as error:
        return ContentCredentials(is_valid=False, problems=(str(error),))
    manifest = report["manifests"].get(report.get("active_manifest"), {})
    signature = manifest.get("signature_info", {})
    generators = manifest.get("claim_generator_info") or [{}]
    names = dict.fromkeys(signature.get(name) for name in ("issuer", "common_name"))
    codes = dict.fromkeys(status["code"] for status in report.get("validation_status", ()))
    problems = tuple(code for code in codes if code != _UNTRUSTED)
    return ContentCredentials(
        signed_by=", ".join(name for name in names if name),
        claim_generator=" ".join(generators[0].get(name) or "" for name in ("name", "version")).strip(),
        is_valid=report.get("validation_state") in ("Valid", "Trusted") and not problems,
        problems=problems,
    )
