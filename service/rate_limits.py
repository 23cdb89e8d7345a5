"""Counts what each API key uses: requests and images a minute, in this process or in one Redis for all processes.

Not here: who may call at all (service.auth).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import NamedTuple, Protocol

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage

from models.errors import InputError
from service.auth import ApiKey
from service.errors import InvalidRequestError, NotReadyError, RateLimitedError
from service.metrics import Metrics
from service.settings import Settings

log = logging.getLogger("ganmint.service")
WINDOW_S = 60
# A store that does not answer must not hold up requests, and is not asked again at once.
STORE_TIMEOUT_S = 0.25
STORE_RETRY_S = 1.0


class Usage(NamedTuple):
    """What was used of one limit: all in the present window, and a falling share of the window before.

    Attributes:
        before: used in the window before.
        before_s: seconds until the last of it counts no more, 0 to 60.
        now: used in the present window.
        now_s: seconds until the last of this counts no more, 60 to 120.
    """

    before: int
    before_s: float
    now: int
    now_s: float

    @property
    def used(self) -> int:
        """What counts now."""
        return math.floor(self.before * self.before_s / WINDOW_S) + self.now

    @property
    def reset_s(self) -> int:
        """Seconds until the present window ends, at least 1."""
        end_s = self.now_s - WINDOW_S if self.now_s else WINDOW_S
        return max(1, math.ceil(end_s))

    def find_wait_s(self, room: int) -> int:
        """Return the seconds until at most `room` counts, if nothing more is used; at least 1."""
        if self.now <= room:
            wait_s = self.before_s - _find_falling_s(self.before, room - self.now)
        else:
            # The present window must become the one before, and then fall.
            wait_s = self.now_s - _find_falling_s(self.now, room)
        return max(1, math.floor(wait_s) + 1)


class Store(Protocol):
    """Where usage is kept: `limits`' storages for sliding windows."""

    async def read(self, key: str) -> Usage:
        """Return a limit's usage."""

    async def add(self, key: str, limit: int, cost: int) -> bool:
        """Use `cost`, unless it does not fit; returns whether it did."""


class MemoryStore:
    """This process's own counts."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()

    async def read(self, key: str) -> Usage:
        return Usage(*self._storage.get_sliding_window(key, WINDOW_S))

    async def add(self, key: str, limit: int, cost: int) -> bool:
        return self._storage.acquire_sliding_window_entry(key, limit, WINDOW_S, cost)


class RedisStore:
    """The counts of all processes that use the same Redis, or what speaks its protocol, such as Valkey.

    Raises:
        InputError: when the client's package is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis
            from limits.aio.storage import RedisStorage
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise InputError(f"needs {error.name}: pip install 'ganmint[redis]'", "GANMINT_RATE_STORE") from None
        # Tried twice: the first may find a connection that the store has closed meanwhile.
        self._storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix="ganmint",
            socket_timeout=STORE_TIMEOUT_S,
            socket_connect_timeout=STORE_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # type: ignore[arg-type]
        )
        self.errors: tuple[type[Exception], ...] = (redis.RedisError, OSError, asyncio.TimeoutError)

    async def read(self, key: str) -> Usage:
        return Usage(*await self._storage.get_sliding_window(key, WINDOW_S))

    async def add(self, key: str, limit: int, cost: int) -> bool:
        return await self._storage.acquire_sliding_window_entry(key, limit, WINDOW_S, cost)

    async def check(self) -> None:
        """Raise one of `errors` when the store does not answer."""
        await self._storage.get("check")

    async def close(self) -> None:
        """Close the connections."""
        await self._storage.bridge.get_connection().aclose()  # type: ignore[attr-defined]


class RateLimiter:
    """Charges requests to keys. Used on one event loop.

    Raises:
        InputError: when the store of the settings cannot be used.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._own = MemoryStore()
        self._shared = RedisStore(settings.rate_store) if settings.rate_store else None
        self._fails_closed = settings.rate_store_down == "closed"
        self._is_up = True
        self._ask_again_at = 0.0
        self._up = metrics.rate_store_up
        self._failures = metrics.rate_store_failures
        if self._shared:
            self._up.set(1)

    async def charge(self, key: ApiKey | None, num_images: int) -> dict[str, str]:
        """Count a request for `num_images`.

        Returns:
            The RateLimit headers of the response.

        Raises:
            RateLimitedError: it does not fit now; nothing is counted.
            NotReadyError: the shared store is away, and the settings say to refuse.
        """
        if key is None:
            return {}
        if self._shared is None:
            return await _charge(self._own, key, num_images)
        if time.monotonic() >= self._ask_again_at:
            try:
                headers = await _charge(self._shared, key, num_images)
            except self._shared.errors as error:
                self._note_failure(error)
            else:
                self._note_answer()
                return headers
        if self._fails_closed:
            raise NotReadyError("limits cannot be checked now; try again")
        return await _charge(self._own, key, num_images)

    async def check_store(self) -> None:
        """Ask the shared store whether it is there, for the metric and the log, also while nobody calls."""
        if self._shared:
            try:
                await self._shared.check()
            except self._shared.errors as error:
                self._note_failure(error)
            else:
                self._note_answer()

    async def stop(self) -> None:
        """Close the connections to the shared store."""
        if self._shared:
            await self._shared.close()

    def _note_failure(self, error: Exception) -> None:
        self._ask_again_at = time.monotonic() + STORE_RETRY_S
        self._failures.inc()
        self._up.set(0)
        if self._is_up:
            consequence = "requests with limits are refused" if self._fails_closed else "each process counts on its own"
            log.error("the store of rate limits does not answer (%s); %s until it does", error, consequence)
        self._is_up = False

    def _note_answer(self) -> None:
        if not self._is_up:
            log.info("the store of rate limits answers again")
            self._up.set(1)
        self._is_up = True


def check_cost(key: ApiKey | None, num_images: int, field: str = "n") -> None:
    """Check that a request could ever fit its key's limit; `field` is what asks for the images.

    Raises:
        InvalidRequestError: names the limit.
    """
    if key and key.images_per_minute and num_images > key.images_per_minute:
        limit = key.images_per_minute
        message = f"must be at most {limit}, this key's images per minute, got {num_images}; send several requests"
        raise InvalidRequestError([(field, message)])


async def _charge(store: Store, key: ApiKey, num_images: int) -> dict[str, str]:
    """Count a request against the key's limits; returns the RateLimit headers."""
    limits = [("requests", key.requests_per_minute, 1), ("images", key.images_per_minute, num_images)]
    charges = [(name, limit, cost, _make_store_key(name, limit, key)) for name, limit, cost in limits if limit and cost]
    if not charges:
        return {}
    # All limits are read before any is charged, so that a refused request costs nothing.
    usages = [await store.read(store_key) for *_, store_key in charges]
    waits_s = {
        name: usage.find_wait_s(limit - cost)
        for (name, limit, cost, _), usage in zip(charges, usages)
        if usage.used + cost > limit
    }
    if not waits_s:
        for name, limit, cost, store_key in charges:
            if not await store.add(store_key, limit, cost):
                # Another process was faster.
                waits_s[name] = 1
                break
    # draft-ietf-httpapi-ratelimit-headers-10: q quota, w window, r remaining, t seconds to reset.
    left = [
        f'"{name}";r={max(0, limit - usage.used - (0 if waits_s else cost))};t={usage.reset_s}'
        for (name, limit, cost, _), usage in zip(charges, usages)
    ]
    policy = ", ".join(f'"{name}";q={limit};w={WINDOW_S}' for name, limit, *_ in charges)
    headers = {"RateLimit-Policy": policy, "RateLimit": ", ".join(left)}
    if waits_s:
        message = f"key {key.name!r} has reached its limit of {next(iter(waits_s))} per minute"
        raise RateLimitedError(message, {**headers, "Retry-After": str(max(waits_s.values()))})
    return headers


def _make_store_key(name: str, limit: int, key: ApiKey) -> str:
    return RateLimitItemPerMinute(limit, namespace=name).key_for(key.name)


def _find_falling_s(used: int, room: int) -> float:
    """Return for how many seconds at its end a window before counts as at most `room`."""
    return min(WINDOW_S, (room + 1) * WINDOW_S / used) if used else WINDOW_S
