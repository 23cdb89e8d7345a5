"""What routes share: the application's state, keys and limits, and waiting for images while the client is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request

from service.auth import ApiKey, Authenticator
from service.deadline import Deadline
from service.errors import ClientGoneError
from service.loaded_model import LoadedModel
from service.metrics import Metrics
from service.middleware import LOG_FIELDS
from service.pending_request import PendingRequest
from service.rate_limits import RateLimiter
from service.registry import Registry
from service.settings import Settings

# Most responses are complete before this; only for later ones it pays to watch for a disconnect.
WATCH_AFTER_S = 0.25
T = TypeVar("T")


def get_registry(request: Request) -> Registry:
    """Return the loaded models."""
    registry: Registry = request.app.state.registry
    return registry


def get_settings(request: Request) -> Settings:
    """Return the service's settings."""
    settings: Settings = request.app.state.settings
    return settings


def check_key(request: Request) -> ApiKey | None:
    """Return the caller's key, before anything else of the request is looked at; None where anyone may call."""
    authenticator: Authenticator = request.app.state.authenticator
    key = authenticator.check_key(request.headers.get("authorization"))
    if key:
        add_to_log(request, key=key.name)
    return key


def add_to_log(request: Request, **fields: object) -> None:
    """Add fields to the request's line of the access log; never a key itself."""
    request.scope["state"].setdefault(LOG_FIELDS, {}).update(fields)


async def charge(
    request: Request,
    key: ApiKey | None,
    num_images: int = 1,
    model: LoadedModel | None = None,
    deadline: Deadline | None = None,
) -> dict[str, str]:
    """Charge a valid request to the caller's key; returns the RateLimit headers.

    With a model and a deadline, only where the model's queue has room: what is refused costs nothing.
    """
    if model and deadline:
        model.batcher.check_room(num_images, deadline.remaining_s)
    limiter: RateLimiter = request.app.state.rate_limiter
    headers = await limiter.charge(key, num_images)
    if key:
        metrics: Metrics = request.app.state.metrics
        metrics.key_images.labels(key.name).inc(num_images)
    return headers


async def wait_while_connected(
    request: Request, pending: PendingRequest, wait_for_result: Callable[[], Awaitable[T]]
) -> T:
    """Wait for the result; if the client disconnects first, fail the request with ClientGoneError."""
    watch: asyncio.Task[None] | None = None

    def start_watch() -> None:
        nonlocal watch
        watch = asyncio.create_task(_fail_on_disconnect(request, pending))

    timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, start_watch)
    try:
        return await wait_for_result()
    finally:
        timer.cancel()
        if watch:
            watch.cancel()


async def _fail_on_disconnect(request: Request, pending: PendingRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    pending.fail(ClientGoneError("the client disconnected"))
