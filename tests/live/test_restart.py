"""Servers that are stopped and started while clients send requests."""

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

from tests.live.server import Server, run_server
from tests.live.wire import encode_request, read_response
from tests.waiting import TIMEOUT_S

# At least so many; the load lasts as long as the restarts do.
NUM_REQUESTS = int(os.environ.get("GANMINT_TEST_RESTART_REQUESTS", "2000"))
NUM_CLIENTS = 16
# Longer than the proxy takes to notice that a server is not ready, also on a busy machine: a poll's time limit is 2 s.
DRAIN_PAUSE_S = "4"
PNG_END = b"IEND\xaeB`\x82"
# A status for a request without a whole response.
LOST = 0


class Proxy:
    """A load balancer: new connections go, in turn, to servers whose /readyz was 200 a moment ago.

    Attributes:
        open: the tasks of the open connections.
        connections: how many connections each server got, by URL.
    """

    def __init__(self, urls: list[str]) -> None:
        self._is_ready = dict.fromkeys(urls, True)
        self._turn = 0
        self.open: set[asyncio.Task[None]] = set()
        self.connections: dict[str, int] = dict.fromkeys(urls, 0)

    def is_ready(self, url: str) -> bool:
        return self._is_ready[url]

    async def poll(self, url: str) -> None:
        """Poll one server. Each has a task of its own: a server that starts may leave a request waiting."""
        async with httpx.AsyncClient(timeout=2) as client:
            while True:
                status = LOST
                with contextlib.suppress(httpx.TransportError):
                    status = (await client.get(url + "/readyz")).status_code
                self._is_ready[url] = status == 200
                await asyncio.sleep(0.1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio itself keeps only a weak reference to a half-closed connection's task.
        task = asyncio.current_task()
        assert task
        self.open.add(task)
        try:
            await self._connect(reader, writer)
        finally:
            self.open.remove(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = await self._choose_server()
        self.connections[url] += 1
        target = httpx.URL(url)
        writers = [writer]
        # A server that has gone sends no response, and the client counts the request as lost.
        with contextlib.suppress(OSError):
            upstream_reader, upstream_writer = await asyncio.open_connection(target.host, target.port)
            writers.append(upstream_writer)
            await asyncio.gather(_forward(reader, upstream_writer), _forward(upstream_reader, writer))
        for one in writers:
            await close(one)

    async def _choose_server(self) -> str:
        self._turn += 1
        while True:
            ready = [url for url, is_ready in self._is_ready.items() if is_ready]
            if ready:
                return ready[self._turn % len(ready)]
            await asyncio.sleep(0.02)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # ENOTCONN, where the other side has closed already, is no ConnectionError.
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait for its end."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def start_proxy(urls: list[str]) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy in front of servers; yields it and its URL."""
    proxy = Proxy(urls)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    polls = [asyncio.create_task(proxy.poll(url)) for url in urls]
    try:
        yield proxy, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for task in polls:
            task.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        server.close()
        while proxy.open:
            await asyncio.sleep(0.01)


async def send_requests(url: str, keep_alive: bool, statuses: list[int], stop: asyncio.Event) -> None:
    """Send requests until `stop` is set and there are NUM_REQUESTS, and append each status.

    Each request has a connection of its own, or with `keep_alive` one until the server closes it.
    """
    writer: asyncio.StreamWriter | None = None
    connection = "keep-alive" if keep_alive else "close"
    while not stop.is_set() or len(statuses) < NUM_REQUESTS:
        # Leaves processor time for the servers that start.
        await asyncio.sleep(0.05)
        body = b'{"model": "tiny", "seed": %d}' % len(statuses)
        status = LOST
        is_closed = True
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if writer is None:
                reader, writer = await asyncio.open_connection(httpx.URL(url).host, httpx.URL(url).port)
            writer.write(encode_request(body, Accept="image/png", Connection=connection))
            response = await read_response(reader)
            status = response.status
            is_closed = response.headers.get("connection") == "close"
            assert status != 200 or response.body.endswith(PNG_END)
        statuses.append(status)
        if writer and is_closed:
            await close(writer)
            writer = None
    if writer:
        await close(writer)


async def wait_for_count(statuses: list[int], count: int) -> None:
    while len(statuses) < count:
        await asyncio.sleep(0.02)


async def restart(server: Server, name: str, proxy: Proxy, stack: contextlib.ExitStack) -> None:
    """Stop a server, start another on its port, and wait until the proxy uses it."""
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, TIMEOUT_S) == 0
    port = httpx.URL(server.url).port
    restarted = run_server(server.home, server.log.with_name(name), port, GANMINT_DRAIN_PAUSE_S=DRAIN_PAUSE_S)
    await asyncio.to_thread(stack.enter_context, restarted)
    while not proxy.is_ready(server.url):
        await asyncio.sleep(0.02)


def test_two_servers_behind_a_proxy_restarted_in_turn_lose_nothing(home: Path, tmp_path: Path) -> None:
    async def main(servers: list[Server], stack: contextlib.ExitStack) -> Proxy:
        statuses: list[int] = []
        async with start_proxy([server.url for server in servers]) as (proxy, url):
            stop = asyncio.Event()
            clients = [asyncio.create_task(send_requests(url, k % 2 == 0, statuses, stop)) for k in range(NUM_CLIENTS)]
            for k, server in enumerate(servers):
                await wait_for_count(statuses, len(statuses) + NUM_REQUESTS // 10)
                await restart(server, f"restarted-{k}", proxy, stack)
            await wait_for_count(statuses, len(statuses) + NUM_REQUESTS // 10)
            stop.set()
            await asyncio.gather(*clients)
        failed = [status for status in statuses if status != 200]
        print(f"{len(statuses)} requests on {sum(proxy.connections.values())} connections, {len(failed)} failed")
        assert failed == [] and len(statuses) >= NUM_REQUESTS
        return proxy

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:

        def start(name: str) -> Server:
            server = run_server(home, tmp_path / name, GANMINT_DRAIN_PAUSE_S=DRAIN_PAUSE_S)
            return stack.enter_context(server)

        servers = list(pool.map(start, ("first", "second")))
        proxy = asyncio.run(main(servers, stack))
    assert min(proxy.connections.values()) > NUM_REQUESTS // 20


# A connection that was being opened when the server stopped listening cannot be closed by hand.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sigterm_under_load_completes_every_accepted_request(home: Path, tmp_path: Path) -> None:
    statuses: list[int] = []
    partial_responses: list[bytes] = []

    async def send_until_closed(url: httpx.URL, k: int) -> None:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        accept, n = (("image/png", 1), ("application/json", 8))[k % 2]
        with contextlib.suppress(ConnectionError):
            while True:
                body = b'{"model": "tiny", "seed": %d, "n": %d}' % (len(statuses), n)
                writer.write(encode_request(body, Accept=accept))
                try:
                    response = await read_response(reader)
                except asyncio.IncompleteReadError as error:
                    partial_responses.append(error.partial)
                    break
                statuses.append(response.status)
        await close(writer)

    async def main(server: Server) -> int:
        url = httpx.URL(server.url)
        clients = [asyncio.create_task(send_until_closed(url, k)) for k in range(64)]
        await wait_for_count(statuses, 200)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        return await asyncio.to_thread(server.process.wait, TIMEOUT_S)

    with run_server(home, tmp_path / "log", GANMINT_ACCESS_LOG="1") as server:
        assert asyncio.run(main(server)) == 0
    log = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    # Connections are closed between two responses, so none is partial; every accepted request has a response.
    assert set(partial_responses) <= {b""}
    assert set(statuses) == {200}
    assert [line["status"] for line in lines if line["path"] == "/generate"] == [200] * len(statuses)
    assert "Traceback" not in log
