"""What /metrics says of the service itself."""

from __future__ import annotations

import asyncio
import json
import re
from importlib import metadata
from pathlib import Path

import httpx

from models import store
from service.app import create_app
from service.auth import create_key
from service.settings import Settings
from tests.service.app_client import connect, wait_for_readyz, wait_until_ready
from tests.waiting import wait_until_async


async def read(client: httpx.AsyncClient, series: str) -> float | None:
    """Return the value of a series; None where there is none."""
    match = re.search(rf"^{re.escape(series)} (\S+)$", (await client.get("/metrics")).text, re.MULTILINE)
    return float(match[1]) if match else None


def test_a_service_without_models_says_that_it_is_not_ready(store_home: Path, tiny_artifact: Path) -> None:
    async def main() -> None:
        async with connect(create_app(Settings(device="cpu", poll_s=0.05))) as client:
            await wait_for_readyz(client, 503)
            assert await read(client, "ganmint_ready") == 0
            store.install(tiny_artifact)
            await wait_until_ready(client)
            assert await read(client, "ganmint_ready") == 1

    asyncio.run(main())


def test_a_draining_service_is_not_ready(store_home: Path, tiny_artifact: Path) -> None:
    store.install(tiny_artifact)

    async def main() -> None:
        app = create_app(Settings(device="cpu"))
        async with connect(app) as client:
            await wait_until_ready(client)
            assert await read(client, "ganmint_draining") == 0
            app.state.registry.drain()
            assert (await read(client, "ganmint_ready"), await read(client, "ganmint_draining")) == (0, 1)

    asyncio.run(main())


def test_an_unreadable_key_file_is_seen_until_it_is_mended(store_home: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    good = json.dumps([create_key("alice")[1].model_dump()])
    keys.write_text(good)

    async def main() -> None:
        async with connect(create_app(Settings(device="cpu", api_keys_file=str(keys), poll_s=0.05))) as client:

            async def wait_for(value: float) -> None:
                async def has_come() -> bool:
                    return await read(client, "ganmint_keys_file_ok") == value

                await wait_until_async(has_come, f"ganmint_keys_file_ok is {value}")

            await wait_for(1)
            keys.write_text("{")
            await wait_for(0)
            keys.unlink()
            await asyncio.sleep(0.2)
            await wait_for(0)
            keys.write_text(good + " ")
            await wait_for(1)

    asyncio.run(main())


def test_build_and_process_are_known(store_home: Path) -> None:
    async def main() -> str:
        async with connect(create_app(Settings(device="cpu"))) as client:
            assert (await read(client, "process_cpu_seconds_total") or 0) > 0
            assert (await read(client, "process_resident_memory_bytes") or 0) > 10_000_000
            assert (await read(client, "process_start_time_seconds") or 0) > 1e9
            return (await client.get("/metrics")).text

    text = asyncio.run(main())
    (info,) = re.findall(r"^ganmint_build_info{(.*)} 1.0$", text, re.MULTILINE)
    assert f'version="{metadata.version("ganmint")}"' in info and "python=" in info
    assert text.count("# TYPE process_cpu_seconds_total counter") == 1
