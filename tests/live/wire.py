"""HTTP/1.1 written by hand, for what a well-behaved client would not do."""

from __future__ import annotations

import asyncio
from typing import NamedTuple


class RawResponse(NamedTuple):
    """A response as it came; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def encode_request(body: bytes, length: int | None = None, **headers: str) -> bytes:
    """Encode a POST /generate; `length` is a Content-Length that may be wrong."""
    lines = ["POST /generate HTTP/1.1", "Host: t", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_response(reader: asyncio.StreamReader) -> RawResponse:
    """Read the next response of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return RawResponse(int(head[0].split()[1]), headers, body)
