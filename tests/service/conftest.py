"""What the tests of the service share: an application in this process, ready and with the tiny model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from models import store
from service.app import create_app
from service.settings import Settings
from tests.service.app_client import connect, wait_until_ready


@pytest.fixture
def serve_app(store_home: Path, tiny_artifact: Path) -> Callable[..., None]:
    """Runs a scenario, which gets a client and the application; `headers` are the client's, all else are settings."""
    store.install(tiny_artifact)

    def run(
        scenario: Callable[[httpx.AsyncClient, FastAPI], Awaitable[None]],
        headers: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        async def main() -> None:
            app = create_app(Settings(device="cpu", **settings))
            async with connect(app, headers) as client:
                await wait_until_ready(client)
                await scenario(client, app)

        asyncio.run(main())

    return run


@pytest.fixture
def serve(serve_app: Callable[..., None]) -> Callable[..., None]:
    """Runs a scenario, which gets a client only; arguments as those of `serve_app`."""

    def run(scenario: Callable[[httpx.AsyncClient], Awaitable[None]], **arguments: Any) -> None:
        serve_app(lambda client, _: scenario(client), **arguments)

    return run
