"""Malicious and careless clients against a real server with the tiny model."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import resource
import socket
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from models import artifact, images
from tests.live.metrics import read_metric
from tests.live.server import Server, install, list_workers, run_server
from tests.live.wire import RawResponse, encode_request, read_response
from tests.waiting import TIMEOUT_S, wait_until

# More than the queue has room for, so that some may be refused.
NUM_CLIENTS = 5000
BODY = b'{"model": "tiny", "seed": 7}'


@contextlib.contextmanager
def limit_open_files(soft: int) -> Iterator[None]:
    """Set this process's limit, which its child processes inherit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def server(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started as from most shells, with 1,024 open files. Its time limit leaves room for a busy machine."""
    folder = tmp_path_factory.mktemp("abuse")
    install(folder / "home", tiny_artifact)
    with contextlib.ExitStack() as stack:
        with limit_open_files(1024):
            server = stack.enter_context(run_server(folder / "home", folder / "log", GANMINT_TIMEOUT_S="120"))
        yield server


@pytest.fixture
def host_and_port(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


@pytest.fixture
def png(tiny_artifact: Path) -> bytes:
    """The image that BODY requests."""
    sampler = artifact.load(tiny_artifact)
    (address,) = sampler.manifest.addresses(7)
    return images.encode(sampler.mint([address])[0], "image/png", str(address))


async def check_served(server: Server, png: bytes) -> None:
    """Check that a well-behaved client gets its image."""
    async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT_S) as client:
        response = await client.post("/generate", content=BODY, headers={"Accept": "image/png"})
    assert (response.status_code, response.content) == (200, png)


def test_5000_simultaneous_clients_get_responses(server: Server, host_and_port: tuple[str, int], png: bytes) -> None:
    num_files = NUM_CLIENTS + 200
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < num_files:
        pytest.skip(f"a process may not have {num_files} open files here")

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(encode_request(BODY, Accept="image/png"))
        response = await read_response(reader)
        writer.close()
        if response.status == 200:
            assert response.body == png
        else:
            assert int(response.headers["retry-after"]) >= 1
        return response.status

    async def main() -> Counter[int]:
        connections = await asyncio.gather(*(asyncio.open_connection(*host_and_port) for _ in range(NUM_CLIENTS)))
        statuses = Counter(await asyncio.gather(*(call(*connection) for connection in connections)))
        await check_served(server, png)
        return statuses

    with limit_open_files(num_files):
        statuses = asyncio.run(main())
    assert statuses.keys() <= {200, 429, 503}
    assert statuses[200] >= 1000


def test_incomplete_bodies_get_a_408_and_block_nobody(
    server: Server, host_and_port: tuple[str, int], png: bytes
) -> None:
    before = read_metric(server, 'ganmint_shed_total{reason="body_timeout"}')

    async def main() -> list[RawResponse]:
        connections = []
        for _ in range(200):
            reader, writer = await asyncio.open_connection(*host_and_port)
            writer.write(encode_request(BODY[:10], len(BODY), Ganmint_Timeout_S="3"))
            connections.append((reader, writer))
        await check_served(server, png)
        responses = [await read_response(reader) for reader, _ in connections]
        # Closed, because the rest of the body could not be distinguished from the next request.
        assert {await reader.read() for reader, _ in connections} == {b""}
        for _, writer in connections:
            writer.close()
        return responses

    for status, headers, body in asyncio.run(main()):
        assert (status, headers["content-type"], headers["connection"]) == (408, "application/problem+json", "close")
        assert "3 s" in json.loads(body)["detail"]
    assert read_metric(server, 'ganmint_requests_total{code="408",method="POST",route="/generate"}') == before + 200
    assert read_metric(server, 'ganmint_shed_total{reason="body_timeout"}') == before + 200


def test_a_body_in_pieces_is_read_and_an_abandoned_one_is_dropped(
    server: Server, host_and_port: tuple[str, int], png: bytes
) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection(*host_and_port)
        for k, byte in enumerate(encode_request(BODY, Accept="image/png")):
            writer.write(bytes([byte]))
            if k % 20 == 0:
                await asyncio.sleep(0.005)
        assert (await read_response(reader)).body == png
        writer.write(encode_request(BODY[:10], len(BODY)))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    series = 'ganmint_shed_total{reason="client_gone"}'
    before = read_metric(server, series)
    asyncio.run(main())
    wait_until(lambda: read_metric(server, series) > before, "the abandoned body is counted")
    assert read_metric(server, series) == before + 1
    assert "Traceback" not in server.log.read_text()


def test_slow_readers_block_nobody_and_get_everything(
    server: Server, host_and_port: tuple[str, int], png: bytes
) -> None:
    body = b'{"model": "tiny", "seed": 7, "n": 200}'

    async def connect_slowly() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        slow = socket.socket()
        # The smallest window there is, set before the connection can agree on another.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        slow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(slow, host_and_port)
        return await asyncio.open_connection(sock=slow, limit=1024)

    async def main() -> list[bytes]:
        slow = [await connect_slowly() for _ in range(20)]
        for _, writer in slow:
            writer.write(encode_request(body, Accept="application/zip", Connection="close"))
        starts = [await reader.readexactly(100) for reader, _ in slow]
        for _ in range(5):
            await check_served(server, png)
        responses = [start + await reader.read() for start, (reader, _) in zip(starts, slow)]
        for _, writer in slow:
            writer.close()
        return responses

    expected = server.post_generate(json.loads(body), headers={"Accept": "application/zip"}).content
    for response in asyncio.run(main()):
        head, _, chunks = response.partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0]
        assert join_chunks(chunks) == expected
    with zipfile.ZipFile(io.BytesIO(expected)) as archive:
        assert archive.read("0.png") == png


def join_chunks(body: bytes) -> bytes:
    """Join a chunked body (RFC 9112, section 7.1); its last chunk must be there."""
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            assert body == b"\r\n"
            return b"".join(parts)
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]


def test_pipelined_requests_get_responses_in_order(server: Server, host_and_port: tuple[str, int], png: bytes) -> None:
    async def main() -> list[RawResponse]:
        reader, writer = await asyncio.open_connection(*host_and_port)
        bad = encode_request(b'{"model": "tiny", "n": 0}')
        bodies = [b'{"model": "tiny", "seed": 7, "index": %d}' % k for k in range(30)]
        writer.write(b"".join(encode_request(body, Accept="image/png") + bad for body in bodies))
        responses = [await read_response(reader) for _ in range(60)]
        writer.close()
        return responses

    responses = asyncio.run(main())
    assert [response.status for response in responses] == [200, 422] * 30
    addresses = [response.headers["ganmint-address"].partition("?")[0] for response in responses[::2]]
    assert addresses == [f"tiny/1.0.0/7/{k}" for k in range(30)]
    assert responses[0].body == png


def read_resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_heads_without_an_end_fill_no_memory(server: Server, host_and_port: tuple[str, int], png: bytes) -> None:
    (worker,) = list_workers(server)
    before = read_resident_bytes(worker)

    async def send_lines() -> RawResponse:
        reader, writer = await asyncio.open_connection(*host_and_port)
        writer.write(b"POST /generate HTTP/1.1\r\n")
        # The server closes the connection while the client still sends.
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                writer.write(b"h: " + b"v" * 8000 + b"\r\n")
                await writer.drain()
        response = await read_response(reader)
        writer.close()
        return response

    async def main() -> set[int]:
        responses = await asyncio.gather(*(send_lines() for _ in range(50)))
        await check_served(server, png)
        return {response.status for response in responses}

    series = 'ganmint_shed_total{reason="head_too_large"}'
    refused = read_metric(server, series)
    assert asyncio.run(main()) == {431}
    assert read_metric(server, series) == refused + 50
    # 160 MB were sent.
    assert read_resident_bytes(worker) - before < 50e6
