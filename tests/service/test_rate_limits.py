"""What a key's limits count, when a refused request may come back, and a store that all processes share."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import rate_limits
from service.auth import ApiKey, create_key
from service.errors import NotReadyError, RateLimitedError
from service.metrics import Metrics
from service.rate_limits import WINDOW_S, RateLimiter, Usage
from service.settings import Settings
from tests.live.server import find_free_port
from tests.waiting import TIMEOUT_S, wait_until_async

SECRET, KEY = create_key("alice")
LIMITED = KEY.model_copy(update={"requests_per_minute": 5, "images_per_minute": 50})
REDIS = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(REDIS is None, reason="needs Redis: apt-get install redis-server")
IMAGE = "/v1/images/tiny/1.0.0/7/0.png"


@pytest.fixture
def serve(serve_app: Callable[..., None]) -> Callable[..., None]:
    """Runs a scenario against a service with one limited key, which the client sends."""
    headers = {"Authorization": f"Bearer {SECRET}"}
    return functools.partial(serve_app, headers=headers, api_keys=json.dumps([LIMITED.model_dump()]))


async def read_left(client: httpx.AsyncClient) -> str:
    """Use one request and one image, and return what is left."""
    response = await client.post("/generate", json={"model": "tiny"})
    assert response.status_code == 200
    return ",".join(part.split(";")[1] for part in response.headers["ratelimit"].split(", "))


def test_what_is_not_served_costs_nothing(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        etag = (await client.get(IMAGE)).headers["etag"]
        batcher = (await app.state.registry.get("tiny")).batcher
        for body in ({"model": "nope", "n": 20}, {"model": "tiny", "n": 20, "labels": 9}, {"model": "tiny", "n": 0}):
            assert (await client.post("/generate", json=body)).status_code in (404, 422)
        for path in (IMAGE.replace("1.0.0", "9.0.0"), f"{IMAGE}?label=9"):
            assert (await client.get(path)).status_code in (404, 422)
        for path in (IMAGE, IMAGE.replace(".png", ".webp")):
            known = (await client.get(path, headers={"If-None-Match": "*"})).status_code
            assert known == 304
        assert (await client.get(IMAGE, headers={"If-None-Match": etag})).status_code == 304
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batcher, "_queue_images", 0)
            full = [
                await client.post("/generate", json={"model": "tiny", "n": 20}),
                await client.get(f"{IMAGE}?psi=0.5"),
            ]
            assert [response.status_code for response in full] == [429, 429]
        assert await read_left(client) == "r=3,r=48"

    serve(scenario, cache_mb=0)


def test_a_text_that_leads_to_an_image_costs_a_request_and_no_image(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        for left in range(4, -1, -1):
            response = await client.get("/v1/of/tiny/hello.png")
            assert (response.status_code, response.headers["ratelimit"].split(";")[1]) == (307, f"r={left}")
        assert (await client.get("/v1/of/tiny/hello.png")).status_code == 429

    serve(scenario)


def test_more_images_than_the_limit_are_refused_naming_it(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        refusal = await client.post("/generate", json={"model": "tiny", "n": 51})
        assert refusal.status_code == 422 and "retry-after" not in refusal.headers
        assert refusal.json()["errors"][0]["field"] == "n" and "at most 50" in refusal.json()["detail"]
        assert (await client.post("/generate", json={"model": "tiny", "n": 50})).status_code == 200

    serve(scenario)


def test_the_key_is_judged_before_the_body_is_read(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        for headers in ({}, {"Content-Type": "text/xml"}):
            wrong = {**headers, "Authorization": "Bearer gm_wrong"}
            assert (await client.post("/generate", content=b"{", headers=wrong)).status_code == 401
            assert (await client.get(IMAGE.replace("7/0", "x/0"), headers=wrong)).status_code == 401

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.request_body._receive_all", None)
        serve(scenario)


USAGES = st.builds(
    Usage,
    before=st.integers(0, 100),
    before_s=st.floats(0.5, WINDOW_S),
    now=st.integers(0, 100),
    now_s=st.floats(WINDOW_S + 0.5, 2 * WINDOW_S),
)


def count_after(usage: Usage, seconds: float) -> int:
    """Return what counts later, when nothing more is used."""
    window_end_s = usage.now_s - WINDOW_S
    if seconds < window_end_s:
        return usage._replace(before_s=max(0.0, usage.before_s - seconds), now_s=usage.now_s - seconds).used
    left_s = max(0.0, WINDOW_S - (seconds - window_end_s))
    return Usage(usage.now, left_s, 0, 0.0).used


@given(usage=USAGES, limit=st.integers(1, 100), cost=st.integers(1, 100))
def test_retry_after_is_when_the_cost_fits(usage: Usage, limit: int, cost: int) -> None:
    # Both windows end together.
    usage = usage._replace(before_s=usage.now_s - WINDOW_S)
    if cost > limit or usage.used + cost <= limit:
        return
    wait_s = usage.find_wait_s(limit - cost)
    assert count_after(usage, wait_s) + cost <= limit
    assert wait_s == 1 or count_after(usage, wait_s - 1.001) + cost > limit


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a Redis on the port of `redis.port`, and stops all at the end."""
    processes: list[subprocess.Popen[bytes]] = []
    port = find_free_port()

    def start() -> subprocess.Popen[bytes]:
        assert REDIS
        command = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        processes.append(process)
        return process

    start.port = port  # type: ignore[attr-defined]
    yield start
    for process in processes:
        process.kill()
        process.wait(TIMEOUT_S)


def make_limiter(redis: Any, down: Any, metrics: Metrics) -> RateLimiter:
    return RateLimiter(Settings(rate_store=f"redis://127.0.0.1:{redis.port}", rate_store_down=down), metrics)


def read_up(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("ganmint_rate_store_up")


async def wait_until_up(limiter: RateLimiter, metrics: Metrics) -> None:
    async def is_up() -> bool:
        await limiter.check_store()
        return read_up(metrics) == 1

    await wait_until_async(is_up, "the store answers")


async def is_refused(limiter: RateLimiter, key: ApiKey, num_images: int) -> bool:
    try:
        await limiter.charge(key, num_images)
    except RateLimitedError as error:
        return 1 <= int(error.headers["Retry-After"]) <= 2 * WINDOW_S
    return False


@needs_redis
def test_processes_that_share_a_store_count_together(redis: Any) -> None:
    async def scenario() -> None:
        redis()
        all_metrics = [Metrics(), Metrics()]
        limiters = [make_limiter(redis, "open", metrics) for metrics in all_metrics]
        for limiter, metrics in zip(limiters, all_metrics):
            await wait_until_up(limiter, metrics)
        headers = await limiters[0].charge(LIMITED, 30)
        assert headers["RateLimit"].startswith('"requests";r=4;t=')
        assert await is_refused(limiters[1], LIMITED, 21)
        assert not await is_refused(limiters[1], LIMITED, 20)
        assert await is_refused(limiters[0], LIMITED, 1)
        for limiter in limiters:
            await limiter.stop()

    asyncio.run(scenario())


@needs_redis
@pytest.mark.parametrize("down", ["open", "closed"])
def test_a_store_that_goes_away_is_noticed_and_taken_up_again(
    redis: Any, down: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_limits, "STORE_RETRY_S", 0.0)

    async def scenario() -> None:
        process = redis()
        metrics = Metrics()
        limiter = make_limiter(redis, down, metrics)
        await wait_until_up(limiter, metrics)
        caplog.clear()
        await limiter.charge(LIMITED, 50)
        process.kill()
        process.wait(TIMEOUT_S)
        for _ in range(2):
            if down == "closed":
                with pytest.raises(NotReadyError, match="limits"):
                    await limiter.charge(LIMITED, 10)
            else:
                assert not await is_refused(limiter, LIMITED, 25)
        # Also on its own, a process has limits.
        assert down == "closed" or await is_refused(limiter, LIMITED, 1)
        assert read_up(metrics) == 0
        assert (metrics.registry.get_sample_value("ganmint_rate_store_failures_total") or 0) >= 2
        assert caplog.text.count("does not answer") == 1
        redis()
        await wait_until_up(limiter, metrics)
        assert not await is_refused(limiter, LIMITED, 50)
        assert await is_refused(limiter, LIMITED, 1)
        await limiter.stop()

    with caplog.at_level("INFO", "ganmint.service"):
        asyncio.run(scenario())
    assert "answers again" in caplog.text
