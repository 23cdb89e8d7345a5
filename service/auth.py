"""Who may ask, and how much.

Knows: API keys (only their SHA-256 is kept; keys are long random strings, so a plain hash suffices),
limits per key and minute, and the RateLimit headers. Does not know: routes, models.
"""

from __future__ import annotations

import hashlib
import logging
import math
import secrets
import time
from pathlib import Path

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import Field, TypeAdapter, ValidationError

from models.base import Frozen, describe_first_problem
from models.errors import FileError
from service.errors import RateLimitedError, UnauthorizedError

log = logging.getLogger("ganmint.service")
WINDOW_S = 60


class Key(Frozen):
    """One caller, as it stands in the key file."""

    name: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the key; the key itself is not kept")
    requests_per_minute: int | None = Field(default=None, ge=1)
    images_per_minute: int | None = Field(default=None, ge=1)


_KEYS = TypeAdapter(list[Key])


def new_key(name: str) -> tuple[str, Key]:
    """A fresh key and its record for the file."""
    key = "gm_" + secrets.token_urlsafe(32)
    return key, Key(name=name, sha256=_digest(key))


def parse_keys(text: str | bytes, origin: Path | str) -> dict[str, Key]:
    """The keys of a JSON list, by hash.

    Raises: FileError naming the origin and the field.
    """
    try:
        keys = _KEYS.validate_json(text)
    except ValidationError as error:
        raise FileError(origin, f"is not a list of keys: {describe_first_problem(error)}") from None
    return {key.sha256: key for key in keys}


def read_keys(path: Path) -> dict[str, Key]:
    """The keys of a file, by hash.

    Raises: FileError naming the file and the field.
    """
    try:
        return parse_keys(path.read_bytes(), path)
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror}") from None


class Authenticator:
    """Lets callers in and counts what they ask for. Limits hold per worker process.

    Args:
        keys_file: read now and again whenever it changes.
        keys: a JSON list, in place of a file. Without both, anyone may ask for anything.
    Raises: FileError when the keys cannot be used.
    """

    def __init__(self, keys_file: str = "", keys: str = "") -> None:
        self._path = Path(keys_file) if keys_file else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._keys = parse_keys(keys, "GANMINT_API_KEYS") if keys else {}
        self._open = not (keys_file or keys)
        self._seen: tuple[int, int] | None = None
        if self._path:
            self._keys = read_keys(self._path)
            self._seen = _version(self._path)

    def refresh(self) -> None:
        """Take up a changed file; keep the keys there are while it cannot be used."""
        if self._path is None or (version := _version(self._path)) == self._seen:
            return
        self._seen = version
        try:
            self._keys = read_keys(self._path)
            log.info("%d API keys read from %s", len(self._keys), self._path)
        except FileError as error:
            log.error("API keys stay as they were: %s", error)

    def admit(self, authorization: str | None, images: int) -> dict[str, str]:
        """Let a request for so many images pass, and count it.

        Returns: headers for the answer, saying what is left.
        Raises: UnauthorizedError, RateLimitedError.
        """
        if self._open:
            return {}
        scheme, _, token = (authorization or "").partition(" ")
        key = self._keys.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
        if key is None:
            reason = "this key is not known" if token else "send one as Authorization: Bearer KEY"
            raise UnauthorizedError(reason)
        limits = [("requests", key.requests_per_minute, 1), ("images", key.images_per_minute, images)]
        return self._spend(key.name, [(name, limit, cost) for name, limit, cost in limits if limit])

    def _spend(self, caller: str, limits: list[tuple[str, int, int]]) -> dict[str, str]:
        items = [(name, RateLimitItemPerMinute(limit, namespace=name), cost) for name, limit, cost in limits]
        # Both are tested before either is spent, so that a refused request costs nothing.
        refused = next((name for name, item, cost in items if not self._limiter.test(item, caller, cost=cost)), None)
        if refused is None:
            for _, item, cost in items:
                self._limiter.hit(item, caller, cost=cost)
        left = {name: self._limiter.get_window_stats(item, caller) for name, item, _ in items}
        # draft-ietf-httpapi-ratelimit-headers-10: q quota, w window, r remaining, t seconds to reset.
        resets = {name: max(1, math.ceil(stats.reset_time - time.time())) for name, stats in left.items()}
        headers = {
            "RateLimit-Policy": ", ".join(f'"{name}";q={limit};w={WINDOW_S}' for name, limit, _ in limits),
            "RateLimit": ", ".join(f'"{name}";r={stats.remaining};t={resets[name]}' for name, stats in left.items()),
        }
        if refused is not None:
            raise RateLimitedError(
                f"key {caller!r} has used up its {refused} per minute", {**headers, "Retry-After": str(resets[refused])}
            )
        return headers if limits else {}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _version(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
