"""The cache of permanent images, alone and behind its route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.auth import Authenticator
from service.image_cache import ENTRY_OVERHEAD_BYTES, CachedImage, ImageCache, ImageKey
from service.metrics import Metrics

URL = "/v1/images/tiny/1.0.0/7/0.png"
Scenario = Callable[[httpx.AsyncClient, FastAPI], Any]
ENTRY = 100 + ENTRY_OVERHEAD_BYTES


def read(metrics: Metrics, name: str, **labels: str) -> float:
    value = metrics.registry.get_sample_value(name, labels)
    assert value is not None
    return value


def make_entry(name: str, num_bytes: int = 100) -> tuple[ImageKey, CachedImage]:
    return ImageKey(name, "image/png", "digest"), CachedImage(name, f'"{name}"', name.encode() * num_bytes)


def test_the_least_recently_used_make_room() -> None:
    metrics = Metrics()
    cache = ImageCache(2 * ENTRY, metrics)
    a, b, c = (make_entry(name) for name in "abc")
    cache.add(*a)
    cache.add(*b)
    assert cache.find(a[0]) == a[1]
    cache.add(*c)
    assert [cache.find(key) for key, _ in (a, b, c)] == [a[1], None, c[1]]
    assert read(metrics, "ganmint_cache_bytes") == 2 * ENTRY
    assert read(metrics, "ganmint_cache_requests_total", result="hit") == 3
    assert read(metrics, "ganmint_cache_requests_total", result="miss") == 3


def test_a_file_larger_than_the_cache_is_not_kept() -> None:
    metrics = Metrics()
    cache = ImageCache(2 * ENTRY, metrics)
    a, b = make_entry("a"), make_entry("b", 2 * ENTRY)
    cache.add(*a)
    cache.add(*b)
    assert (cache.find(a[0]), cache.find(b[0])) == (a[1], None)


def test_a_cache_of_no_bytes_is_off_and_counts_nothing() -> None:
    metrics = Metrics()
    cache = ImageCache(0, metrics)
    key, image = make_entry("a")
    cache.add(key, image)
    assert cache.find(key) is None
    assert read(metrics, "ganmint_cache_requests_total", result="miss") == 0


def test_a_permanent_image_is_minted_once(serve_app: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        first, second = await client.get(URL), await client.get(URL)
        assert first.status_code == second.status_code == 200
        assert (second.content, dict(second.headers)) == (first.content, dict(first.headers))
        # Another format is another file.
        assert (await client.get(URL.replace("png", "webp"))).content != first.content
        metrics = app.state.metrics
        assert read(metrics, "ganmint_images_total", model="tiny", version="1.0.0") == 2
        assert read(metrics, "ganmint_cache_requests_total", result="hit") == 1
        assert read(metrics, "ganmint_cache_requests_total", result="miss") == 2

    serve_app(scenario)


def test_a_cached_image_keeps_its_rules(serve_app: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        etag = (await client.get(URL)).headers["etag"]
        assert (await client.get(URL, headers={"If-None-Match": etag})).status_code == 304
        assert (await client.get(URL, headers={"Ganmint-Timeout-S": "-1"})).status_code == 422
        assert (await client.get(URL + "?label=7&label=7")).status_code == 422
        app.state.authenticator = Authenticator(keys="[]")
        assert (await client.get(URL)).status_code == 401

    serve_app(scenario)


def test_a_cached_image_needs_no_place_in_the_queue(serve_app: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        first = await client.get(URL)
        model = await app.state.registry.get("tiny")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model.batcher, "submit", None)
            assert (await client.get(URL)).content == first.content

    serve_app(scenario)


def test_only_permanent_images_are_kept(serve_app: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        body = {"model": "tiny", "seed": 7}
        for _ in range(2):
            assert (await client.post("/generate", json=body, headers={"Accept": "image/png"})).status_code == 200
        assert read(app.state.metrics, "ganmint_cache_bytes") == 0
        assert read(app.state.metrics, "ganmint_images_total", model="tiny", version="1.0.0") == 2

    serve_app(scenario)


def test_without_a_cache_every_request_mints(serve_app: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: FastAPI) -> None:
        first, second = await client.get(URL), await client.get(URL)
        assert second.content == first.content
        assert read(app.state.metrics, "ganmint_images_total", model="tiny", version="1.0.0") == 2

    serve_app(scenario, cache_mb=0)
