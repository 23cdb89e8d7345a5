"""What every request passes through.

Knows: counting and timing by route template, so that strangers' paths cannot grow the series, and
that HEAD is GET without the body. Does not know: routes.
"""

from __future__ import annotations

import json
import sys
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
            self._metrics.requests.labels(route, method, str(status)).inc()
            elapsed = time.perf_counter() - started
            self._metrics.duration.labels(route).observe(elapsed)
            if self._access_log:
                client = (scope.get("client") or ("", 0))[0]
                line = {"time": time.time(), "client": client, "method": scope["method"], "path": scope["path"]}
                print(json.dumps({**line, "status": status, "seconds": elapsed}), file=sys.stderr, flush=True)


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
