"""ASGI middleware: metrics, a path prefix, draining, HEAD, no caching by default, a fast path for the busiest route."""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Sequence

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import GanmintError
from service.errors import CUT_STATUS, handle_ganmint_error, handle_http_exception
from service.metrics import Metrics
from service.settings import ROOT_PATH

# Where in the request's state the routes leave fields for its line of the access log.
LOG_FIELDS = "log_fields"
# A caller's request id that may stand in a log; others are replaced.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetricsMiddleware:
    """Counts and times requests by route template, and logs them as JSON if `access_log` is set.

    The log's request id is the caller's `X-Request-Id`, or a new one. It is sent back with what no cache keeps: a
    cache would hand one caller's to the next.
    Raw paths would let callers create any number of series.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        status = 500
        request_id = _read_request_id(scope) if self._access_log else ""

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.get("headers", ())
                if request_id and (b"cache-control", b"no-store") in headers:
                    message = {**message, "headers": [*headers, (b"x-request-id", request_id.encode())]}
            await send(message)

        state = scope.setdefault("state", {})
        method = scope["method"] if scope["method"] in _METHODS else "other"
        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            status = state.get(CUT_STATUS, status)
            route = getattr(scope.get("route"), "path", "unmatched")
            elapsed_s = time.perf_counter() - started_at
            self._metrics.record_request(route, method, status, elapsed_s)
            if self._access_log:
                line = {
                    "time": time.time(),
                    "request_id": request_id,
                    "client": (scope.get("client") or ("", 0))[0],
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "seconds": elapsed_s,
                    **state.get(LOG_FIELDS, {}),
                }
                print(json.dumps(line), file=sys.stderr, flush=True)


def _read_request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)


class RootPathMiddleware:
    """Serves under a path prefix, whether or not the proxy in front removes it.

    Inside, `path` begins with `root_path`, as ASGI has it, so that redirects and /docs lead to where the caller is.

    Args:
        app: the next layer.
        root_path: such as /images; no slash at its end.
        trusts_header: whether X-Forwarded-Prefix, where it is sent and is a path, takes its place. A caller who can
            send it chooses where links and redirects lead, and a cache hands those to others: only a proxy may.
    """

    def __init__(self, app: ASGIApp, root_path: str, trusts_header: bool = False) -> None:
        self._app = app
        self._root_path = root_path
        self._trusts_header = trusts_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root_path = (self._trusts_header and _read_forwarded_prefix(scope)) or self._root_path
            path = scope["path"]
            if path != root_path and not path.startswith(root_path + "/"):
                path = root_path + path
            scope = {**scope, "path": path, "root_path": root_path}
        await self._app(scope, receive, send)


def _read_forwarded_prefix(scope: Scope) -> str:
    """Return the prefix that the proxy removed; empty where it names none, several, or what is no path."""
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-prefix"]
    prefix = values[0].decode("latin-1").rstrip("/") if len(values) == 1 else ""
    return prefix if re.fullmatch(ROOT_PATH, prefix) else ""


class DrainMiddleware:
    """Adds `Connection: close` to every response while the service drains.

    Clients then open a new connection, which the load balancer sends to another server. A connection that is kept
    to the end would be closed while its next request may be on its way.
    """

    def __init__(self, app: ASGIApp, is_draining: Callable[[], bool]) -> None:
        self._app = app
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and self._is_draining():
                headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"connection"]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_and_close if scope["type"] == "http" else send)


class NoStoreMiddleware:
    """Adds `Cache-Control: no-store` to every response that does not say how long it holds.

    Otherwise caches choose a time themselves, also for a 404 of a version that is about to be published.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    message = {**message, "headers": [*headers, (b"cache-control", b"no-store")]}
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)


class HeadMiddleware:
    """Serves HEAD as GET without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy: the server itself must see HEAD, or it would expect the body that Content-Length announces.
        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, send_without_body)
        finally:
            # The metrics count by the route that the router sets.
            scope["route"] = inner.get("route")


class FastRouteMiddleware:
    """Calls some endpoints directly, without FastAPI's routing, dependencies and exit stacks.

    They take as long as the endpoint itself. FastAPI still does everything else for the routes: their description in
    /openapi.json, other methods, trailing slashes.

    Args:
        app: the next layer.
        routes: their endpoints take the request and the path's parameters, all of them text, and return a response.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"][len(scope.get("root_path", "")) :]
            for route in self._routes:
                match = route.path_regex.match(path)
                if match and scope["method"] in (route.methods or ()):
                    await self._call(route, match.groupdict(), scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _call(
        self, route: APIRoute, path_params: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request, **path_params)
        except GanmintError as error:
            response = await handle_ganmint_error(request, error)
        except HTTPException as error:
            response = await handle_http_exception(request, error)
        await response(scope, receive, send)
