"""Keys and certificate chains that tests sign pictures with."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from models import content_credentials
from tests.signing_keys import Keys

needs_c2pa = pytest.mark.skipif(not content_credentials.is_installed(), reason="the extra c2pa is not installed")
SUBJECT = "O=Test Organisation,CN=Test signer"


def make_chain(
    folder: Path, *, days: tuple[int, int] = (-1, 30), password: str | None = None, usage: bool = True
) -> Keys:
    """Make a key (P-256) and its certificate chain as C2PA asks for; returns their files.

    Args:
        days: from today, that the certificate is valid from and to.
        password: of the key; None for one that is not encrypted.
        usage: whether the certificate is for signing documents, which C2PA asks for.
    """
    issuer_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _make_certificate("Test issuer", "Test issuer", issuer_key, issuer_key, (-1, 30), is_issuer=True)
    own = _make_certificate("Test signer", "Test issuer", key, issuer_key, days, usage=usage)
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    folder.mkdir()
    pem = serialization.Encoding.PEM
    key_file, chain_file = folder / "key.pem", folder / "chain.pem"
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    chain_file.write_bytes(own.public_bytes(pem) + issuer.public_bytes(pem))
    return key_file, chain_file


def _make_certificate(
    name: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    days: tuple[int, int],
    *,
    is_issuer: bool = False,
    usage: bool = True,
) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    # Digital signature; of an issuer, that it signs certificates and lists of revoked ones.
    key_usage = x509.KeyUsage(not is_issuer, False, False, False, False, is_issuer, is_issuer, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_make_name(name))
        .issuer_name(_make_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(is_issuer, None), critical=True)
        .add_extension(key_usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if usage and not is_issuer:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _make_name(name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Organisation"),
        ]
    )
