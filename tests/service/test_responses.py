"""Streams that clients stop reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import FastAPI

from service.errors import CUT_STATUS
from service.metrics import Metrics
from service.responses import ArchiveResponse
from tests.waiting import TIMEOUT_S


@pytest.mark.parametrize("num_read", [0, 1, 2])
def test_a_client_that_stops_reading_is_cut_off(num_read: int) -> None:
    is_closed = False
    metrics = Metrics()
    state: dict[str, Any] = {}

    async def chunks() -> AsyncGenerator[bytes]:
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

        app = FastAPI()
        app.state.metrics = metrics
        scope: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "POST"}
        scope |= {"path": "/generate", "state": state, "app": app}
        await asyncio.wait_for(ArchiveResponse(chunks(), 0.05)(scope, receive, send), TIMEOUT_S)
        await asyncio.sleep(0)
        return sent

    sent = asyncio.run(scenario())
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * num_read
    assert is_closed or not num_read
    assert state == {CUT_STATUS: 499}
    assert metrics.registry.get_sample_value("ganmint_shed_total", {"reason": "slow_reader"}) == 1
