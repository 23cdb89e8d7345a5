"""Content codings: gzip of JSON responses on request, and of request bodies within the bound of their size."""

from __future__ import annotations

import asyncio
import gzip
import zlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLargeError, MalformedGzipError, UnsupportedEncodingError
from service.negotiation import accepts_gzip

# Below it, compression takes more time than it saves on the way.
MIN_BYTES = 4096
# Above it, compression would block the event loop for too long.
MAX_INLINE_BYTES = 32768
# Base64 of PNG files shrinks by a quarter, at any level.
LEVEL = 1
# gzip's container, not zlib's.
_WINDOW_BITS = 31


def decode_body(body: bytes, content_encoding: str | None, max_bytes: int) -> bytes:
    """Undo a request's Content-Encoding.

    Raises:
        UnsupportedEncodingError: it is neither gzip nor identity.
        MalformedGzipError: the body is not one whole gzip stream.
        BodyTooLargeError: decoded, it has more than `max_bytes`.
    """
    coding = (content_encoding or "identity").strip().lower()
    if coding == "identity":
        return body
    if coding not in ("gzip", "x-gzip"):
        raise UnsupportedEncodingError(coding)
    decoder = zlib.decompressobj(_WINDOW_BITS)
    try:
        decoded = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise MalformedGzipError(f"Content-Encoding says gzip, but the body is not: {error}") from None
    if len(decoded) > max_bytes:
        raise BodyTooLargeError(f"the decoded body is larger than {max_bytes} bytes")
    if not decoder.eof or decoder.unused_data:
        raise MalformedGzipError("Content-Encoding says gzip, but the body is not one whole stream")
    return decoded


class CompressMiddleware:
    """Compresses large JSON responses for clients that accept gzip. Images and archives are compressed already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not accepts_gzip(Headers(scope=scope).get("accept-encoding")):
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _is_large_json(message):
                held = message
                return
            if held:
                start, held = held, None
                body = message.get("body", b"")
                # HEAD has no body, and none of the headers that a body would have.
                if body and not message.get("more_body", False):
                    message = {**message, "body": await _compress(body)}
                    headers = MutableHeaders(raw=list(start["headers"]))
                    headers["Content-Encoding"] = "gzip"
                    headers["Content-Length"] = str(len(message["body"]))
                    headers.add_vary_header("Accept-Encoding")
                    start = {**start, "headers": headers.raw}
                await send(start)
            await send(message)

        await self._app(scope, receive, send_compressed)


async def _compress(body: bytes) -> bytes:
    if len(body) <= MAX_INLINE_BYTES:
        return gzip.compress(body, LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)


def _is_large_json(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    is_large = int(headers.get("content-length", "0")) >= MIN_BYTES
    return is_large and headers.get("content-type", "").startswith("application/json")
