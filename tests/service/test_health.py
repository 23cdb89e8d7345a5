"""What the platform is told: whether the service lives, and whether it can serve."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models import store
from service.app import create_app
from service.settings import Settings
from tests.service.app_client import connect, wait_for_log, wait_until_ready


def test_it_becomes_ready_when_the_first_model_arrives(
    store_home: Path, tiny_artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connect(create_app(Settings(device="cpu", poll_s=0.02))) as client:
            await wait_for_log(caplog, "no model could be loaded")
            assert (await client.get("/readyz")).status_code == 503
            await asyncio.to_thread(store.install, tiny_artifact)
            await wait_until_ready(client)
            assert (await client.post("/generate", json={"model": "tiny"})).status_code == 200

    asyncio.run(main())


def test_it_is_not_ready_without_a_model_but_it_is_live(store_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with connect(create_app(Settings(device="cpu"))) as client:
            await wait_for_log(caplog, "no model could be loaded")
            assert (await client.get("/livez")).status_code == 200
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert ready.headers["retry-after"]
            assert (await client.post("/generate", json={"model": "tiny"})).status_code in (404, 503)

    asyncio.run(main())
