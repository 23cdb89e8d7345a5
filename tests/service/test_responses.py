"""How an archive is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.responses import TimeoutStreamingResponse


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_caller_who_stops_reading_is_cut_off_and_the_images_are_let_go(taken: int) -> None:
    ended = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal ended
        try:
            while True:
                yield b"x"
        finally:
            ended = True

    async def scenario() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            if len(sent) > taken:
                await asyncio.Event().wait()
            sent.append(message)

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError("nothing is ever received")

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "POST"}
        await asyncio.wait_for(TimeoutStreamingResponse(chunks(), 0.05)(scope, receive, send), 5)
        await asyncio.sleep(0)
        return sent

    sent = asyncio.run(scenario())
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * taken
    assert ended or not taken
