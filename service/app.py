"""Builds the FastAPI application: state, middleware, and the tasks that run beside the requests.

Not here: the routes themselves (the modules of ROUTERS).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from models.errors import InputError
from service import errors, health, permanent_images, play, responses, routes, text_seeds, verify
from service.auth import Authenticator
from service.compression import CompressMiddleware
from service.image_cache import ImageCache
from service.metrics import Metrics
from service.middleware import (
    DrainMiddleware,
    FastRouteMiddleware,
    HeadMiddleware,
    NoStoreMiddleware,
    RequestMetricsMiddleware,
    RootPathMiddleware,
)
from service.rate_limits import RateLimiter
from service.registry import Registry
from service.settings import Settings

if TYPE_CHECKING:
    from service.tracing import Tracing

ROUTERS = tuple(module.router for module in (routes, permanent_images, verify, text_seeds, play, health))
# Response headers that a browser hands to scripts of other origins.
CORS_HEADERS = [*responses.HEADERS, "ETag", "Retry-After", "RateLimit", "RateLimit-Policy"]


def create_app(settings: Settings, on_loaded: Callable[[], None] | None = None) -> FastAPI:
    """Create the application; its lifespan loads the models in the background and stops the registry.

    Args:
        settings: the service's settings.
        on_loaded: called once, when the first load of the models has ended.

    Raises:
        FileError: when the key file or the public key cannot be used.
        InputError: when the store of rate limits cannot be used, or the packages for tracing are missing.
    """
    metrics = Metrics()
    authenticator = Authenticator(settings.api_keys_file, settings.api_keys)
    rate_limiter = RateLimiter(settings, metrics)
    tracing = _load_tracing() if settings.tracing else None
    registry = Registry(settings, metrics, tracing.start_trace if tracing else None)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In the background: /livez answers while models load, /readyz once they have passed their checks.
        tasks = [
            asyncio.create_task(_load_models(registry, settings, on_loaded)),
            asyncio.create_task(_watch_keys(authenticator, rate_limiter, metrics, settings.poll_s)),
            asyncio.create_task(_watch_readiness(registry, metrics)),
        ]
        yield
        for task in tasks:
            task.cancel()
        await registry.stop()
        await rate_limiter.stop()
        if tracing:
            await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title="Ganmint",
        version=metadata.version("ganmint"),
        description="Synthetic images from seeds. The same address gives the same bytes.",
        lifespan=lifespan,
        # FastAPI would check for OpenTelemetry on every request; service.tracing does it once.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.registry = registry
    app.state.metrics = metrics
    app.state.image_cache = ImageCache(settings.cache_mb * 1_000_000, metrics)
    app.state.authenticator = authenticator
    app.state.large_files = verify.LargeFiles()
    app.state.rate_limiter = rate_limiter
    app.state.tracing = tracing
    for router in ROUTERS:
        app.include_router(router)
    errors.install_handlers(app)
    _add_middleware(app, settings, registry, metrics, tracing)
    return app


def _load_tracing() -> Tracing:
    try:
        from service.tracing import Tracing
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing: pip install '.[tracing]' (in the checkout)", "GANMINT_TRACING"
        ) from None
    return Tracing()


def _add_middleware(
    app: FastAPI, settings: Settings, registry: Registry, metrics: Metrics, tracing: Tracing | None
) -> None:
    """Add the middleware, innermost first."""
    endpoints = (routes.generate, permanent_images.permanent_image)
    all_routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    fast_routes = [route for route in all_routes if route.endpoint in endpoints]
    app.add_middleware(FastRouteMiddleware, routes=fast_routes)
    if tracing:
        tracing.add_route_names(app)
    app.add_middleware(HeadMiddleware)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_headers=["*"],
            allow_methods=["GET", "POST"],
            expose_headers=CORS_HEADERS,
        )
    app.add_middleware(CompressMiddleware)
    app.add_middleware(NoStoreMiddleware)
    app.add_middleware(DrainMiddleware, is_draining=lambda: registry.is_draining)
    app.add_middleware(RequestMetricsMiddleware, metrics=metrics, access_log=settings.access_log)
    if tracing:
        tracing.add_request_spans(app)
    if settings.root_path or settings.trust_forwarded_prefix:
        trusts_header = settings.trust_forwarded_prefix
        app.add_middleware(RootPathMiddleware, root_path=settings.root_path, trusts_header=trusts_header)


async def _load_models(registry: Registry, settings: Settings, on_loaded: Callable[[], None] | None) -> None:
    await registry.start()
    if on_loaded:
        on_loaded()
    if settings.announce_url and registry.is_ready:
        url = settings.announce_url
        body = json.dumps({"model": registry.list_newest()[0].manifest.name, "seed": 7, "n": 64})
        print(f"Ready on {url}\n  curl -fsS {url}/generate -H 'Accept: image/png' -d '{body}' -o grid.png", flush=True)


async def _watch_keys(authenticator: Authenticator, rate_limiter: RateLimiter, metrics: Metrics, poll_s: float) -> None:
    while True:
        await rate_limiter.check_store()
        await asyncio.sleep(poll_s)
        metrics.keys_file_ok.set(authenticator.reload_if_changed())


async def _watch_readiness(registry: Registry, metrics: Metrics) -> None:
    """Keep the gauges fresh: of several workers, only one answers a scrape."""
    while True:
        health.record_readiness(registry, metrics)
        await asyncio.sleep(1)
