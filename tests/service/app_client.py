"""A client of the application in this process, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.waiting import wait_until_async


@asynccontextmanager
async def connect(app: FastAPI, headers: dict[str, str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app's lifespan and yield a client of it."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t", headers=headers) as client,
    ):
        yield client


@asynccontextmanager
async def connect_when_ready(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Create an app and yield a client of it once it is ready."""
    async with connect(create_app(settings)) as client:
        await wait_until_ready(client)
        yield client


async def wait_until_ready(client: httpx.AsyncClient) -> None:
    """Wait until /readyz is 200."""
    await wait_for_readyz(client, 200)


async def wait_for_readyz(client: httpx.AsyncClient, status: int, text: str = "") -> httpx.Response:
    """Wait until /readyz has this status and contains this text; returns it."""
    response = httpx.Response(0)

    async def has_arrived() -> bool:
        nonlocal response
        response = await client.get("/readyz")
        return response.status_code == status and text in response.text

    await wait_until_async(has_arrived, f"/readyz is {status} {text}".rstrip())
    return response


async def wait_for_log(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until the log has this text."""

    async def is_logged() -> bool:
        return text in caplog.text

    await wait_until_async(is_logged, f"the log says {text!r}")
