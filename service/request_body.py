"""Reading a request's body within bounds.

Knows: how many bytes are read and how long they are waited for. Does not know: what they mean.
"""

from __future__ import annotations

import asyncio
import sys

from starlette.requests import Request

from service.errors import BodyTimeoutError, BodyTooLargeError, ClientGoneError


async def read(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body.

    Raises: BodyTooLargeError, BodyTimeoutError; ClientGoneError when the caller hangs up before its end.
    """
    task, late = asyncio.current_task(), False
    assert task is not None

    def end() -> None:
        nonlocal late
        late = True
        task.cancel()

    # As asyncio.timeout does, which Python 3.10 lacks and which takes twice as long; anyio's takes four times.
    timer = asyncio.get_running_loop().call_later(timeout_s, end)
    try:
        return await _all(request, max_bytes)
    except asyncio.CancelledError:
        if not late:
            raise
        if sys.version_info >= (3, 11):
            task.uncancel()
        raise BodyTimeoutError(timeout_s) from None
    finally:
        timer.cancel()


async def _all(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the caller hung up before the end of the body")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise BodyTooLargeError(f"the body has more than {max_bytes} bytes")
        if not message.get("more_body", False):
            return bytes(body)
