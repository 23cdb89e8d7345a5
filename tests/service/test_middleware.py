"""The fast path responds exactly as FastAPI's own path does."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from models import store
from service import responses
from service.app import create_app
from service.auth import create_key
from service.settings import Settings
from tests.service.app_client import connect, wait_until_ready

SECRET, KEY = create_key("alice")
KEYS = json.dumps([{**KEY.model_dump(), "requests_per_minute": 1000}])
ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = {
    **ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}
IMAGE = "/v1/images/tiny/1.0.0/"
GOOD = '{"model": "tiny", "seed": 7, "n": 2}'
COUNTERS = re.compile(
    r'^(?:ganmint_shed|ganmint_requests_total.*"(?:/generate|/v1/images/.*|unmatched)").*$', re.MULTILINE
)

REQUESTS: list[tuple[str, str, dict[str, str], str]] = [
    *[
        ("POST", "/generate", {"Accept": media}, GOOD)
        for media in ("*/*", "image/png", "image/webp", "application/zip")
    ],
    ("POST", "/generate", {"Accept": "application/x-npz"}, GOOD),
    ("POST", "/generate?why=not", ORIGIN, GOOD),
    ("POST", "/generate", {"Accept": "video/mp4"}, GOOD),
    ("POST", "/generate", {"Authorization": "Bearer gm_wrong"}, GOOD),
    ("POST", "/generate", {"Content-Type": "text/xml"}, GOOD),
    ("POST", "/generate", {"Ganmint-Timeout-S": "soon"}, GOOD),
    ("POST", "/generate", {}, ""),
    ("POST", "/generate", {}, '{"model": "tiny"'),
    ("POST", "/generate", {}, '{"model": "tiny", "n": 0, "count": 3}'),
    ("POST", "/generate", {}, '{"model": "nope"}'),
    ("POST", "/generate", {}, "x" * 70_000),
    ("POST", "/generate", {}, '{"model": "tiny", "n": 4, "labels": "balanced", "seed": 66}'),
    ("POST", "/generate/", {}, GOOD),
    ("POST", "/Generate", {}, GOOD),
    *[(method, "/generate", {}, "") for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW")],
    ("OPTIONS", "/generate", PREFLIGHT, ""),
    ("OPTIONS", "/generate", {**PREFLIGHT, "Origin": "https://evil.example"}, ""),
    ("HEAD", "/generate/", {}, ""),
    *[("GET", f"{IMAGE}{rest}", {}, "") for rest in ("7/0.png", "7/0.webp?label=1&psi=0.5", "7/0.png", "7/0.jpg")],
    *[("GET", f"{IMAGE}{rest}", {}, "") for rest in ("7/0.gif", "7/0", "7/0.png/", "7/.png", "7/0.0.png", "7//0.png")],
    *[
        ("GET", f"{IMAGE}{rest}", {}, "")
        for rest in ("7/%30.png", "7/0%2E.png", "a/0.png", "7/0.png?lable=1", "7/0.png?")
    ],
    ("GET", "/v1/images/nope/1.0.0/7/0.png", {}, ""),
    ("GET", f"{IMAGE}7/0.png", {"If-None-Match": "*"}, ""),
    ("GET", f"{IMAGE}7/0.png", {"Authorization": "Bearer gm_wrong"}, ""),
    *[(method, f"{IMAGE}7/0.png", ORIGIN, "") for method in ("HEAD", "POST", "OPTIONS", "DELETE")],
]


@asynccontextmanager
async def open_client(has_fast_path: bool) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(device="cpu", cors_origins="https://app.example", api_keys=KEYS))
    if not has_fast_path:
        app.user_middleware = [kind for kind in app.user_middleware if "FastRouteMiddleware" not in str(kind.cls)]
    async with connect(app, headers={"Authorization": f"Bearer {SECRET}"}) as client:
        await wait_until_ready(client)
        yield client


async def collect_responses(has_fast_path: bool) -> list[tuple[Any, ...]]:
    """Return status, headers and body of each of REQUESTS, then the counters."""
    rows: list[tuple[Any, ...]] = []
    async with open_client(has_fast_path) as client:
        for method, path, headers, body in REQUESTS:
            response = await client.request(method, path, headers=headers, content=body)
            comparable = sorted(response.headers.multi_items())
            rows.append((method, path, headers, response.status_code, comparable, response.content))
        counters = COUNTERS.findall((await client.get("/metrics")).text)
        assert len(counters) > 15
        rows.append(tuple(counters))
    return rows


def test_the_fast_path_responds_as_the_framework_does(
    store_home: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.install(tiny_artifact)
    encode_json = responses.encode_json

    def fail_for_seed_66(manifest: Any, addresses: Any, files: Any) -> bytes:
        if addresses[0].seed == 66:
            raise RuntimeError("a bug")
        return encode_json(manifest, addresses, files)

    monkeypatch.setattr(responses, "encode_json", fail_for_seed_66)
    # Limits count by the minute of the clock: where the next began between two requests, what was left differed.
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: 1_000_000.0))
    fast_path = asyncio.run(collect_responses(has_fast_path=True))
    framework = asyncio.run(collect_responses(has_fast_path=False))
    for one, other in zip(fast_path, framework):
        assert one == other
    statuses = {row[3] for row in fast_path[:-1]}
    assert statuses == {200, 204, 304, 307, 400, 401, 404, 405, 406, 413, 415, 422, 500}
