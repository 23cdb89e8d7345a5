"""One clock for a whole request, and what the metrics say of what is cut off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from models import images
from models.manifest import Manifest
from models.runtime import torchscript
from service.deadline import Deadline
from tests.service.app_client import wait_for_readyz
from tests.waiting import TIMEOUT_S, wait_until_async


def read(app: Any, name: str, **labels: str) -> float:
    return app.state.metrics.registry.get_sample_value(name, labels) or 0.0


def count(app: Any, code: int) -> float:
    return read(app, "ganmint_requests_total", route="/generate", method="POST", code=str(code))


async def call(app: Any, accept: str, timeout_s: str = "600", goes_away: bool = False) -> list[dict[str, Any]]:
    """Ask for 20 images as an archive, as a server would; returns what is sent, until the client goes away."""
    sent: list[dict[str, Any]] = []
    requests = [{"type": "http.request", "body": b'{"model": "tiny", "n": 20}', "more_body": False}]
    has_body = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not requests:
            await has_body.wait()
            return {"type": "http.disconnect"}
        return requests.pop()

    async def send(message: Any) -> None:
        sent.append(message)
        if goes_away and message["type"] == "http.response.body":
            has_body.set()
            await asyncio.Event().wait()

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": "/generate",
    }
    scope |= {
        "query_string": b"",
        "headers": [(b"accept", accept.encode()), (b"ganmint-timeout-s", timeout_s.encode())],
    }
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(("owner", "name"), [(Manifest, "addresses"), (images, "encode_one_or_grid")])
def test_the_clock_runs_over_labels_and_the_grid(serve_app: Callable[..., None], owner: Any, name: str) -> None:
    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        gate = threading.Event()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, lambda *arguments: gate.wait(TIMEOUT_S))
            headers = {"Ganmint-Timeout-S": "0.5", "Accept": "image/png"}
            response = await client.post("/generate", json={"model": "tiny", "n": 100}, headers=headers)
            gate.set()
        assert (response.status_code, "0.5 s" in response.json()["detail"]) == (504, True)
        assert read(app, "ganmint_shed_total", reason="deadline") == 1
        assert (await app.state.registry.get("tiny")).batcher.num_waiting == 0

    serve_app(scenario)


def test_the_clock_does_not_begin_again_after_the_body(serve_app: Callable[..., None]) -> None:
    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"model":'
        await asyncio.sleep(0.3)
        yield b' "tiny"}'

    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        batcher = (await app.state.registry.get("tiny")).batcher
        submit = batcher.submit
        left_s: list[float] = []

        def note(addresses: Any, media_type: Any, deadline: Deadline) -> Any:
            left_s.append(deadline.remaining_s)
            return submit(addresses, media_type, deadline)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batcher, "submit", note)
            assert (await client.post("/generate", content=slow_body())).status_code == 200
        assert left_s[0] <= app.state.settings.timeout_s - 0.3

    serve_app(scenario)


def test_a_body_that_is_late_is_the_callers_fault(serve_app: Callable[..., None]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        response = await client.post("/generate", content=endless(), headers={"Ganmint-Timeout-S": "0.5"})
        assert (response.status_code, "0.5 s" in response.json()["detail"]) == (408, True)

    serve_app(scenario)


@pytest.mark.parametrize("media_type", ["application/zip", "application/x-npz"])
@pytest.mark.parametrize(("cause", "code", "reason"), [("late", 504, "deadline"), ("broken", 500, "")])
def test_an_archive_that_is_cut_off_is_not_counted_as_200(
    serve_app: Callable[..., None],
    media_type: str,
    cause: str,
    code: int,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        batcher = (await app.state.registry.get("tiny")).batcher
        mint = batcher._mint
        gate = threading.Event()

        def stumble(addresses: Any, use_all_cores: bool = False) -> Any:
            if addresses[0].index > 8:
                if cause == "broken":
                    raise RuntimeError("broken")
                gate.wait(TIMEOUT_S)
            return mint(addresses, use_all_cores)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(batcher, "_mint", stumble)
            messages = await call(app, media_type, timeout_s="3" if cause == "late" else "600")
        gate.set()
        # The status had been sent; the server closes the connection without an end of the body.
        assert messages[0]["status"] == 200 and all(message["more_body"] for message in messages[1:])
        assert (count(app, 200), count(app, code)) == (0, 1)
        assert not reason or read(app, "ganmint_shed_total", reason=reason) == 1

    serve_app(scenario, timeout_s=600)
    assert "was cut off" in caplog.text


def test_an_archive_whose_reader_goes_away_is_counted_so(serve_app: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        await call(app, "application/zip", goes_away=True)
        assert (count(app, 200), count(app, 499)) == (0, 1)
        assert read(app, "ganmint_shed_total", reason="client_gone") == 1

    serve_app(scenario, timeout_s=600)


def test_a_lost_gpu_makes_the_service_not_ready_then_not_live(
    serve_app: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_lost = False
    monkeypatch.setattr(torchscript, "is_device_lost", lambda device: is_lost)
    monkeypatch.setattr(torchscript, "get_reserved_bytes", lambda device: 0)

    async def scenario(client: httpx.AsyncClient, app: Any) -> None:
        nonlocal is_lost
        app.state.registry.device_probe._device = "cuda:0"
        assert (await client.get("/livez")).status_code == 200
        is_lost = True
        await wait_for_readyz(client, 503, "GPU")
        is_lost = False
        await wait_for_readyz(client, 200)
        is_lost = True

        async def is_dead() -> bool:
            return (await client.get("/livez")).status_code == 503

        await wait_until_async(is_dead, "/livez fails")

    serve_app(scenario, poll_s=0.05)
