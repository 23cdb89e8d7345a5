"""Servers that are stopped and started while they are asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.live.conftest import Server, running
from tests.live.wire import answer, request

# At least so many; the load lasts as long as the restarts do.
REQUESTS = int(os.environ.get("GANMINT_TEST_RESTART_REQUESTS", "2000"))
CALLERS = 16
# Longer than the proxy may take to see that a server is not ready.
DRAIN_PAUSE_S = "3"


class Proxy:
    """What a load balancer does: new connections go to servers whose /readyz was 200 a moment ago."""

    def __init__(self, urls: list[str]) -> None:
        self._urls, self._ready, self._turn = urls, list(urls), 0
        self.open: set[asyncio.Task[None]] = set()
        self.connections: dict[str, int] = dict.fromkeys(urls, 0)

    async def look(self) -> None:
        async with httpx.AsyncClient(timeout=1) as client:
            while True:
                ready = []
                for url in self._urls:
                    with contextlib.suppress(httpx.TransportError):
                        if (await client.get(url + "/readyz")).status_code == 200:
                            ready.append(url)
                self._ready = ready
                await asyncio.sleep(0.1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        # asyncio itself holds a half-closed connection's task only weakly.
        task = asyncio.current_task()
        assert task
        self.open.add(task)
        try:
            await self._connect(reader, writer)
        finally:
            self.open.remove(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = self._ready[self._turn % len(self._ready)]
        self.connections[url] += 1
        there, sides = httpx.URL(url), [writer]
        # From a server that has gone no answer comes, and the caller counts it.
        with contextlib.suppress(OSError):
            upstream = await asyncio.open_connection(there.host, there.port)
            sides.append(upstream[1])
            await asyncio.gather(_pass_on(reader, upstream[1]), _pass_on(upstream[0], writer))
        for side in sides:
            await closed(side)

    def ready(self, url: str) -> bool:
        return url in self._ready


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # ENOTCONN, where the other side has closed already, is no ConnectionError.
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def proxied(urls: list[str]) -> AsyncIterator[tuple[Proxy, str]]:
    proxy = Proxy(urls)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    looking = asyncio.create_task(proxy.look())
    try:
        yield proxy, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        server.close()
        while proxy.open:
            await asyncio.sleep(0.01)


async def ask(url: str, keep: bool, statuses: list[int], over: asyncio.Event) -> None:
    """Requests until it is over, each on a connection of its own or on one until the server ends it; 0: lost."""
    writer: asyncio.StreamWriter | None = None
    while not over.is_set() or len(statuses) < REQUESTS:
        # Room for the servers that are starting.
        await asyncio.sleep(0.05)
        body = b'{"model": "tiny", "seed": %d}' % len(statuses)
        sent = request(body, Accept="image/png", Connection="keep-alive" if keep else "close")
        status, headers = 0, {"connection": "close"}
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if writer is None:
                reader, writer = await asyncio.open_connection(httpx.URL(url).host, httpx.URL(url).port)
            writer.write(sent)
            status, headers, image = await answer(reader)
            # A PNG's last chunk.
            assert status != 200 or image.endswith(b"IEND\xaeB`\x82")
        statuses.append(status)
        if writer and headers.get("connection") == "close":
            await closed(writer)
            writer = None
    if writer:
        await closed(writer)


async def answered(statuses: list[int], count: int) -> None:
    while len(statuses) < count:
        await asyncio.sleep(0.02)


def test_two_servers_behind_a_proxy_restarted_in_turn_lose_nothing(home: Path, tmp_path: Path) -> None:
    def draining(name: str, port: int | None = None) -> contextlib.AbstractContextManager[Server]:
        return running(home, tmp_path / name, port, GANMINT_DRAIN_PAUSE_S=DRAIN_PAUSE_S)

    async def main(first: Server, second: Server, stack: contextlib.ExitStack) -> Proxy:
        statuses: list[int] = []
        async with proxied([first.url, second.url]) as (proxy, url):
            over = asyncio.Event()
            callers = [asyncio.create_task(ask(url, k % 2 == 0, statuses, over)) for k in range(CALLERS)]
            for k, server in enumerate((first, second)):
                await answered(statuses, len(statuses) + REQUESTS // 10)
                server.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(server.process.wait, 30) == 0
                again = running(
                    home, tmp_path / f"again-{k}", httpx.URL(server.url).port, GANMINT_DRAIN_PAUSE_S=DRAIN_PAUSE_S
                )
                await asyncio.to_thread(stack.enter_context, again)
                while not proxy.ready(server.url):
                    await asyncio.sleep(0.02)
            await answered(statuses, len(statuses) + REQUESTS // 10)
            over.set()
            await asyncio.gather(*callers)
        failed = [status for status in statuses if status != 200]
        print(f"{len(statuses)} requests on {sum(proxy.connections.values())} connections, {len(failed)} failed")
        assert failed == [] and len(statuses) >= REQUESTS
        return proxy

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda name: stack.enter_context(draining(name)), ("first", "second"))
        proxy = asyncio.run(main(first, second, stack))
    assert min(proxy.connections.values()) > REQUESTS // 20


# A connection that was being made when the server stopped listening cannot be closed by hand.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sigterm_under_full_load_answers_every_accepted_request_and_exits_0(home: Path, tmp_path: Path) -> None:
    whole: list[int] = []
    refused: list[bytes] = []

    async def caller(where: httpx.URL, k: int) -> None:
        reader, writer = await asyncio.open_connection(where.host, where.port)
        accept, n = (("image/png", 1), ("application/json", 8))[k % 2]
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(request(b'{"model": "tiny", "seed": %d, "n": %d}' % (len(whole), n), Accept=accept))
                try:
                    status, _, _ = await answer(reader)
                except asyncio.IncompleteReadError as error:
                    refused.append(error.partial)
                    break
                whole.append(status)
        await closed(writer)

    async def main(server: Server) -> int:
        callers = [asyncio.create_task(caller(httpx.URL(server.url), k)) for k in range(64)]
        await answered(whole, 200)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*callers)
        return await asyncio.to_thread(server.process.wait, 30)

    with running(home, tmp_path / "log", GANMINT_ACCESS_LOG="1") as server:
        assert asyncio.run(main(server)) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    # A caller ends when its connection is closed, between two answers; whatever was accepted was answered.
    assert set(refused) <= {b""}
    assert set(whole) == {200}
    assert [line["status"] for line in lines if line["path"] == "/generate"] == [200] * len(whole)
    assert "Traceback" not in (tmp_path / "log").read_text()
