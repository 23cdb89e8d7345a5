"""Streams that clients stop reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.responses import TimeoutStreamingResponse
from tests.waiting import TIMEOUT_S


@pytest.mark.parametrize("num_read", [0, 1, 2])
def test_a_client_that_stops_reading_is_cut_off(num_read: int) -> None:
    is_closed = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal is_closed
        try:
            while True:
                yield b"x"
        finally:
            is_closed = True

    async def scenario() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            if len(sent) > num_read:
                await asyncio.Event().wait()
            sent.append(message)

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "POST"}
        await asyncio.wait_for(TimeoutStreamingResponse(chunks(), 0.05)(scope, receive, send), TIMEOUT_S)
        await asyncio.sleep(0)
        return sent

    sent = asyncio.run(scenario())
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * num_read
    assert is_closed or not num_read
