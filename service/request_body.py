"""Reads and validates a request's body, within bounds of size and time."""

from __future__ import annotations

import asyncio
import codecs
import sys

from pydantic import ValidationError
from starlette.requests import Request

from service.compression import decode_body
from service.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ClientGoneError,
    InvalidRequestError,
    MalformedBodyError,
    error_from_validation,
)
from service.negotiation import check_json_content_type
from service.schemas import GenerateRequest
from service.settings import Settings


async def read_generate_request(request: Request, settings: Settings, timeout_s: float) -> GenerateRequest:
    """Read the body of POST /generate and validate its fields.

    Raises:
        UnsupportedMediaTypeError, MalformedBodyError, InvalidRequestError, and what `read_body` raises.
    """
    check_json_content_type(request.headers.get("content-type"))
    body = await read_body(request, settings.max_body_bytes, timeout_s)
    body = decode_body(body, request.headers.get("content-encoding"), settings.max_body_bytes)
    # Some editors and shells put it before UTF-8; RFC 8259 lets a parser ignore it.
    body = body.removeprefix(codecs.BOM_UTF8)
    if not body:
        raise MalformedBodyError('the body is empty; send JSON such as {"model": "digits", "n": 4}')
    try:
        params = GenerateRequest.model_validate_json(body)
    except ValidationError as error:
        raise error_from_validation(error) from None
    if params.n > settings.max_n:
        message = f"must be at most {settings.max_n}, got {params.n}; send further requests with a higher index"
        raise InvalidRequestError([("n", message)])
    return params


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """Read the whole body.

    Raises:
        BodyTooLargeError: it has more than `max_bytes`.
        BodyTimeoutError: it is not complete after `timeout_s`.
        ClientGoneError: the client disconnected before its end.
    """
    task = asyncio.current_task()
    assert task is not None
    is_late = False

    def cancel_read() -> None:
        nonlocal is_late
        is_late = True
        task.cancel()

    # As asyncio.timeout does, which Python 3.10 lacks and which takes twice as long; anyio's takes four times.
    timer = asyncio.get_running_loop().call_later(timeout_s, cancel_read)
    try:
        return await _receive_all(request, max_bytes)
    except asyncio.CancelledError:
        if not is_late:
            raise
        if sys.version_info >= (3, 11):
            task.uncancel()
        raise BodyTimeoutError(timeout_s) from None
    finally:
        timer.cancel()


async def _receive_all(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client disconnected before the end of the body")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise BodyTooLargeError(f"the body is larger than {max_bytes} bytes")
        if not message.get("more_body", False):
            return bytes(body)
