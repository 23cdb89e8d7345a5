"""The express way of /generate answers what the framework's own way responses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import store
from service import responses
from service.app import create_app
from service.auth import create_key
from service.settings import Settings

SECRET, KEY = create_key("lab")
KEYS = json.dumps([{**KEY.model_dump(), "requests_per_minute": 1000}])
ORIGIN = {"Origin": "https://lab.example"}
PREFLIGHT = {
    **ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization",
}
GOOD = '{"model": "tiny", "seed": 7, "n": 2}'
COUNTED = re.compile(r'^(?:ganmint_shed|ganmint_requests_total.*"(?:/generate|unmatched)").*$', re.MULTILINE)

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
]


@asynccontextmanager
async def client(express: bool) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(device="cpu", cors_origins="https://lab.example", api_keys=KEYS))
    if not express:
        app.user_middleware = [kind for kind in app.user_middleware if "FastRouteMiddleware" not in str(kind.cls)]
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://t", headers={"Authorization": f"Bearer {SECRET}"}) as c,
    ):
        while (await c.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.01)
        yield c


async def asked(express: bool) -> list[tuple[Any, ...]]:
    """Status, headers and body of each of REQUESTS, then what was counted."""
    found: list[tuple[Any, ...]] = []
    async with client(express) as c:
        for method, path, headers, body in REQUESTS:
            answer = await c.request(method, path, headers=headers, content=body)
            # How many seconds are left of a key's minute is not part of the comparison.
            kept = sorted((k, v.partition(";t=")[0]) for k, v in answer.headers.multi_items())
            found.append((method, path, headers, answer.status_code, kept, answer.content))
        text = (await c.get("/metrics")).text
        counted = re.findall(
            r'^(?:ganmint_shed|ganmint_requests_total.*"(?:/generate|unmatched)").*$', text, re.MULTILINE
        )
        assert len(counted) > 15
        found.append(tuple(counted))
    return found


def test_the_express_way_answers_as_the_framework_does(
    store_home: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.install(tiny_artifact)
    whole = responses.encode_json

    def sometimes_broken(card: Any, addresses: Any, files: Any) -> bytes:
        if addresses[0].seed == 66:
            raise RuntimeError("a bug")
        return whole(card, addresses, files)

    monkeypatch.setattr(responses, "encode_json", sometimes_broken)
    express, framework = asyncio.run(asked(True)), asyncio.run(asked(False))
    for one, other in zip(express, framework):
        assert one == other
    statuses = {answer[3] for answer in express[:-1]}
    assert statuses == {200, 204, 307, 400, 401, 404, 405, 406, 413, 415, 422, 500}
