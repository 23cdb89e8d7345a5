"""What every request passes through.

Knows: counting and timing by route template, so that strangers' paths cannot grow the series, that
HEAD is GET without the body, how callers are sent elsewhere before the end, and a way around the
framework for the busiest route. Does not know: what routes answer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import GanmintError
from service.errors import on_ganmint_error
from service.metrics import Metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics:
    """Counts and times requests, and logs them as JSON if asked to."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access_log: bool) -> None:
        self._app, self._metrics, self._access_log = app, metrics, access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else "other"
        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            elapsed = time.perf_counter() - started
            self._metrics.answered(route, method, status, elapsed)
            if self._access_log:
                client = (scope.get("client") or ("", 0))[0]
                line = {"time": time.time(), "client": client, "method": scope["method"], "path": scope["path"]}
                print(json.dumps({**line, "status": status, "seconds": elapsed}), file=sys.stderr, flush=True)


class CloseWhileDraining:
    """Ends each kept-alive connection behind its next answer once the service is going to stop.

    Callers then take a new connection, which goes elsewhere; one that is kept to the end would be closed while the
    next request may be on its way.
    """

    def __init__(self, app: ASGIApp, draining: Callable[[], bool]) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining():
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
                message = {**message, "headers": [*kept, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, last if scope["type"] == "http" else send)


class HeadAsGet:
    """Answers HEAD as GET, headers only (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy: the server's own scope must say HEAD, or it would miss the body that it was promised.
        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, without_body)
        finally:
            # What the router found is what the request is counted by.
            scope["route"] = inner.get("route")


class FastRouteMiddleware:
    """Answers one route without the framework's matching, dependencies and exit stacks.

    They take as long as the endpoint itself does. Everything else about the route stays the
    framework's: its description in /openapi.json, other methods, trailing slashes.
    """

    def __init__(self, app: ASGIApp, route: APIRoute, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self._app, self._route, self._endpoint = app, route, endpoint
        self._methods = frozenset(route.methods or ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._route.path or scope["method"] not in self._methods:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive, send)
        try:
            response = await self._endpoint(request)
        except GanmintError as error:
            response = await on_ganmint_error(request, error)
        await response(scope, receive, send)
