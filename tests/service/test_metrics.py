"""What /metrics says of the service itself."""

from __future__ import annotations

import asyncio
import json
import re
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from models import store
from service.app import create_app
from service.auth import create_key
from service.settings import Settings
from tests.service.app_client import connect, connect_when_ready, wait_for_readyz, wait_until_ready
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


def test_images_and_log_lines_name_the_key_and_never_show_it(
    store_home: Path, tiny_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.install(tiny_artifact)
    secret, key = create_key("alice")
    settings = Settings(device="cpu", access_log=True, api_keys=json.dumps([key.model_dump()]))

    async def main() -> None:
        async with connect(create_app(settings), headers={"Authorization": f"Bearer {secret}"}) as client:
            await wait_until_ready(client)
            capsys.readouterr()
            asked = await client.post("/generate", json={"model": "tiny", "n": 3}, headers={"X-Request-Id": "abc-1"})
            assert asked.headers["x-request-id"] == "abc-1"
            image = await client.get("/v1/images/tiny/1.0.0/7/0.png", headers={"X-Request-Id": "{}"})
            # A cache would hand it to the next caller.
            assert image.status_code == 200 and "x-request-id" not in image.headers
            await client.get("/v1/models", headers={"Authorization": "Bearer gm_wrong"})
            assert await read(client, 'ganmint_key_images_total{key="alice"}') == 4

    asyncio.run(main())
    errors = capsys.readouterr().err
    assert secret not in errors and "gm_" not in errors
    posted, image, listed, *_ = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert (posted["request_id"], posted["key"], posted["model"], posted["n"]) == ("abc-1", "alice", "tiny", 3)
    assert (posted["status"], posted["method"], posted["path"]) == (200, "POST", "/generate")
    assert (image["key"], image["model"], image["n"]) == ("alice", "tiny", 1) and image["request_id"] != "{}"
    assert "key" not in listed and len(listed["request_id"]) == 16


def test_a_permanent_image_names_its_canonical_url(store_home: Path, tiny_artifact: Path) -> None:
    store.install(tiny_artifact)

    async def main() -> None:
        async with connect_when_ready(Settings(device="cpu", root_path="/images")) as client:
            canonical = "/images/v1/images/tiny/1.0.0/7/0.webp?label=1&psi=0.5"
            for query in ("psi=0.5&label=1", "label=1&psi=0.50"):
                response = await client.get(f"/v1/images/tiny/1.0.0/7/0.webp?{query}")
                assert response.headers["content-location"] == canonical
            again = await client.get(canonical, headers={"If-None-Match": response.headers["etag"]})
            assert (again.status_code, again.headers["content-location"]) == (304, canonical)
            drawn = await client.get("/v1/images/tiny/1.0.0/7/0.png?psi=1")
            named = await client.get(drawn.headers["content-location"])
            assert named.content == drawn.content and "label=" in drawn.headers["content-location"]
            assert named.headers["content-location"] == drawn.headers["content-location"]

    asyncio.run(main())
