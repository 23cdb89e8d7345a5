"""Reads and validates a request's body, within bounds of size and time."""

from __future__ import annotations

import codecs

from pydantic import ValidationError
from starlette.requests import Request

from service.compression import decode_body
from service.deadline import Deadline
from service.errors import (
    BodyTooLargeError,
    ClientGoneError,
    InvalidRequestError,
    MalformedBodyError,
    error_from_validation,
)
from service.negotiation import check_json_content_type
from service.schemas import GenerateRequest
from service.settings import Settings


async def read_generate_request(request: Request, settings: Settings, deadline: Deadline) -> GenerateRequest:
    """Read the body of POST /generate and validate its fields.

    Raises:
        UnsupportedMediaTypeError, MalformedBodyError, InvalidRequestError, and what `read_body` raises.
    """
    check_json_content_type(request.headers.get("content-type"))
    body = await read_body(request, settings.max_body_bytes, deadline)
    body = decode_body(body, request.headers.get("content-encoding"), settings.max_body_bytes)
    # Some editors and shells put it before UTF-8; RFC 8259 lets a parser ignore it.
    body = body.removeprefix(codecs.BOM_UTF8)
    if not body:
        raise MalformedBodyError('the body is empty; send JSON such as {"model": "digits", "n": 4}')
    try:
        params = GenerateRequest.model_validate_json(body)
    except ValidationError as error:
        raise error_from_validation(error) from None
    if params.latents is not None and params.num_images > settings.max_n:
        message = f"must be at most {settings.max_n}, got {params.num_images}; send several requests"
        raise InvalidRequestError([("latents", message)])
    if params.n > settings.max_n:
        message = f"must be at most {settings.max_n}, got {params.n}; send further requests with a higher index"
        raise InvalidRequestError([("n", message)])
    return params


async def read_body(request: Request, max_bytes: int, deadline: Deadline) -> bytes:
    """Read the whole body, within the block of the deadline.

    Raises:
        BodyTooLargeError: it has more than `max_bytes`.
        ClientGoneError: the client disconnected before its end.
    """
    deadline.is_reading_body = True
    body = await _receive_all(request, max_bytes)
    deadline.is_reading_body = False
    return body


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
