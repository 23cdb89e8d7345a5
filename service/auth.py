"""API keys: who may call.

Only the SHA-256 of a key is kept; keys are long random strings, so a plain hash suffices.
Not here: the limits of keys (service.rate_limits).
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from models.base import Frozen, describe_first_problem
from models.errors import FileError
from service.errors import UnauthorizedError

log = logging.getLogger("ganmint.service")


class ApiKey(Frozen):
    """The record of one caller's key in the key file."""

    name: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="hash of the key; the key itself is not kept")
    requests_per_minute: int | None = Field(default=None, ge=1)
    images_per_minute: int | None = Field(default=None, ge=1)


_KEYS = TypeAdapter(list[ApiKey])


def create_key(name: str) -> tuple[str, ApiKey]:
    """Create a key; returns the key itself and its record for the key file."""
    secret = "gm_" + secrets.token_urlsafe(32)
    return secret, ApiKey(name=name, sha256=_hash_key(secret))


def parse_keys(text: str | bytes, source: Path | str) -> dict[str, ApiKey]:
    """Parse a JSON list of keys; returns them by hash.

    Raises:
        FileError: names the source and the field at fault.
    """
    try:
        keys = _KEYS.validate_json(text)
    except ValidationError as error:
        raise FileError(source, f"is not a list of keys: {describe_first_problem(error)}") from None
    return {key.sha256: key for key in keys}


def read_keys(path: Path) -> dict[str, ApiKey]:
    """Read a key file; returns its keys by hash.

    Raises:
        FileError: names the file and the field at fault.
    """
    try:
        return parse_keys(path.read_bytes(), path)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None


class Authenticator:
    """Knows the callers' keys.

    Args:
        keys_file: read now, and again by `reload_if_changed`.
        keys: a JSON list, in place of a file. Without either, anyone may call without limits.

    Attributes:
        is_open: whether anyone may call.

    Raises:
        FileError: when the keys cannot be used.
    """

    def __init__(self, keys_file: str = "", keys: str = "") -> None:
        self._path = Path(keys_file) if keys_file else None
        self._keys = parse_keys(keys, "GANMINT_API_KEYS") if keys else {}
        self.is_open = not (keys_file or keys)
        self._file_version: tuple[int, int] | None = None
        self._is_file_good = True
        if self._path:
            self._keys = read_keys(self._path)
            self._file_version = _read_file_version(self._path)

    def reload_if_changed(self) -> bool:
        """Read the key file if it has changed; keep the present keys while it cannot be used.

        Returns:
            Whether the file could be used when it last changed.
        """
        if self._path is None:
            return True
        file_version = _read_file_version(self._path)
        if file_version == self._file_version:
            return self._is_file_good
        self._file_version = file_version
        try:
            self._keys = read_keys(self._path)
            log.info("%d API keys read from %s", len(self._keys), self._path)
            self._is_file_good = True
        except FileError as error:
            log.error("API keys stay as they were: %s", error)
            self._is_file_good = False
        return self._is_file_good

    def check_key(self, authorization: str | None) -> ApiKey | None:
        """Return the caller's key; None where anyone may call.

        Raises:
            UnauthorizedError.
        """
        if self.is_open:
            return None
        scheme, _, token = (authorization or "").partition(" ")
        key = self._keys.get(_hash_key(token.strip())) if scheme.lower() == "bearer" else None
        if key is None:
            reason = "this key is not known" if token else "send a key as Authorization: Bearer KEY"
            raise UnauthorizedError(reason)
        return key


def _hash_key(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _read_file_version(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file is written or replaced."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
