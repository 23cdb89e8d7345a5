"""Bounds what a connection may send beside bodies: bytes, lines and time of a request's head, trailers, leftovers.

uvicorn's own protocol has no such bounds. Not here: the bounds of bodies (service.request_body).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import httptools
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_LINES = 100
# Why a request is refused here; `ganmint_shed_total` counts by them.
REASONS = ("bad_request", "head_too_large", "head_timeout")
# So long a refused client is listened to: closed at once, the connection would be reset and the answer lost.
LINGER_S = 2.0


class Limits(NamedTuple):
    """The bounds of a connection.

    Attributes:
        max_head_bytes: most bytes of a request's head and trailers.
        head_timeout_s: most seconds from a head's first byte to its end.
        keep_alive_s: how long a connection may be idle.
    """

    max_head_bytes: int
    head_timeout_s: float
    keep_alive_s: float


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the bounds of `limits`; made for one service by `install`."""

    limits: Limits
    on_refused: Callable[[str], None]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.timeout_keep_alive = self.limits.keep_alive_s  # type: ignore[assignment]
        self.ws_protocol_class = None
        self._is_in_head = False
        self._is_refused = False
        self._head_bytes = 0
        self._num_lines = 0
        # Since the parser last reported something: it keeps an unfinished line in memory.
        self._unreported_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        # uvicorn leaves it running where the connection ended by an error.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._unreported_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        if self._unreported_bytes > self.limits.max_head_bytes:
            self._refuse_size()
        # Most requests arrive whole, and need no timer.
        elif self._timer is None and (self._is_in_head or self._has_answered()) and not self._is_refused:
            self._timer = self.loop.call_later(self.limits.head_timeout_s, self._refuse_time)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = self._num_lines = self._unreported_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._num_lines += 1
        self._count(len(name) + len(value))
        # A trailer is no header: the request has been judged by its head.
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._unreported_bytes = 0
        self._stop_timer()
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unreported_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unreported_bytes = 0
        # Behind an Upgrade the parser reports the end at once; the body is still to come.
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        # Raising in a callback, as `_count` does, ends here, too.
        if not self._is_refused:
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", "this is not HTTP/1.1")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on reading the body: a server may ignore an Upgrade (RFC 9110, section 7.8), after which a parser stops.

        Java's own client asks for h2c with its first request, body and all.

        Args: rest, what came behind the head.
        """
        self.parser = httptools.HttpRequestParser(_BodyOnly(self))
        framing = [pair for pair in self.headers if pair[0] in (b"content-length", b"transfer-encoding")]
        lines = [b"POST / HTTP/1.1", *(b"%s: %s" % pair for pair in framing)]
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        try:
            self.parser.feed_data(rest)
        except httptools.HttpParserError:
            self.send_400_response("")

    def _has_answered(self) -> bool:
        """Return whether no request is being answered, so that what comes is a head or a rest that nobody reads."""
        return self.cycle is None or self.cycle.response_complete

    def _count(self, num_bytes: int) -> None:
        self._unreported_bytes = 0
        self._head_bytes += num_bytes
        if self._head_bytes > self.limits.max_head_bytes or self._num_lines > MAX_LINES:
            self._refuse_size()
            raise httptools.HttpParserCallbackError("the head is too large")

    def _refuse_size(self) -> None:
        detail = f"the head of a request may have {self.limits.max_head_bytes} bytes and {MAX_LINES} lines"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", detail)

    def _refuse_time(self) -> None:
        self._timer = None
        detail = f"the head of the request did not arrive within {self.limits.head_timeout_s:g} s"
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "head_timeout", detail)

    def _refuse(self, status: HTTPStatus, reason: str, detail: str) -> None:
        """Say what is wrong, if no other answer is on its way, read nothing more, and close the connection."""
        self._is_refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        type(self).on_refused(reason)
        self.headers = []
        if not self._has_answered() and self._is_in_head:
            # The answers to the requests before come first; the connection ends behind them.
            self.cycle.keep_alive = False
            return
        if self._has_answered():
            is_answered = self.cycle is not None and not self._is_in_head
        else:
            is_answered = self.cycle.response_started or bool(self.pipeline)
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not is_answered:
            self.transport.write(_encode_problem(status, detail))
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _BodyOnly:
    """Hands a parser's reports of a body, its trailers and its end to a protocol that has had the head."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self._is_in_body = False
        self._has_ended = False

    def on_headers_complete(self) -> None:
        self._is_in_body = not self._has_ended

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_body:
            self._protocol.on_header(name, value)

    def on_body(self, body: bytes) -> None:
        if self._is_in_body:
            self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        # The connection ends behind this request; a next one is not read.
        if self._is_in_body:
            self._is_in_body, self._has_ended = False, True
            self._protocol.on_message_complete()


def install(limits: Limits, on_refused: Callable[[str], None]) -> None:
    """Make this process's uvicorn use the protocol.

    Args:
        limits: the bounds of every connection.
        on_refused: called with the reason, for each request that is refused.
    """
    members = {"limits": limits, "on_refused": staticmethod(on_refused)}
    protocol = type("ServiceProtocol", (BoundedProtocol,), members)
    # BentoML makes uvicorn's configuration itself, and leaves the choice of the protocol to uvicorn.
    uvicorn.config.HTTP_PROTOCOLS["auto"] = protocol  # type: ignore[assignment]


def _encode_problem(status: HTTPStatus, detail: str) -> bytes:
    """Encode an RFC 9457 response that ends the connection."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
