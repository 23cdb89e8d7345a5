"""HTTP/1.1 by hand, for what a well-behaved client would not do."""

from __future__ import annotations

import asyncio


def request(body: bytes, length: int | None = None, **headers: str) -> bytes:
    lines = ["POST /generate HTTP/1.1", "Host: t", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """The next one on a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
