"""Callers who mean harm, or only know no better, against a real server with the tiny model."""

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

from models import artifact, images, store
from tests.live.conftest import Server, running
from tests.live.test_lifecycle import counted
from tests.live.wire import answer, request

# More than the queue has room for, so that some may be refused.
CALLERS = 5000
BODY = b'{"model": "tiny", "seed": 7}'


@contextlib.contextmanager
def open_files(soft: int) -> Iterator[None]:
    """This process's limit, which those that it starts inherit."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def server(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started as from most shells, with 1,024 open files."""
    folder = tmp_path_factory.mktemp("enemies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        store.install(tiny_artifact)
    with contextlib.ExitStack() as stack:
        with open_files(1024):
            server = stack.enter_context(running(folder / "home", folder / "log"))
        yield server


@pytest.fixture
def where(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


@pytest.fixture
def png(tiny_artifact: Path) -> bytes:
    """What BODY asks for."""
    sampler = artifact.load(tiny_artifact)
    (address,) = sampler.manifest.addresses(7)
    return images.encode(sampler.mint([address])[0], "image/png", str(address))


async def served(server: Server, png: bytes) -> None:
    """A well-behaved caller gets its image while the enemies are still there."""
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as client:
        good = await client.post("/generate", content=BODY, headers={"Accept": "image/png"})
    assert (good.status_code, good.content) == (200, png)


def test_5000_callers_at_once_are_all_answered(server: Server, where: tuple[str, int], png: bytes) -> None:
    needed = CALLERS + 200
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < needed:
        pytest.skip(f"a process may not have {needed} open files here")

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(request(BODY, Accept="image/png"))
        status, headers, body = await answer(reader)
        writer.close()
        assert body == png if status == 200 else int(headers["retry-after"]) >= 1
        return status

    async def main() -> Counter[int]:
        connections = await asyncio.gather(*(asyncio.open_connection(*where) for _ in range(CALLERS)))
        statuses = Counter(await asyncio.gather(*(call(*connection) for connection in connections)))
        await served(server, png)
        return statuses

    with open_files(needed):
        statuses = asyncio.run(main())
    assert statuses.keys() <= {200, 429, 503}
    assert statuses[200] >= 1000


def test_half_sent_bodies_are_told_so_after_their_time_and_hold_nobody_up(
    server: Server, where: tuple[str, int], png: bytes
) -> None:
    before = counted(server, 'ganmint_shed_total{reason="body_timeout"}')

    async def main() -> list[tuple[int, dict[str, str], bytes]]:
        halves = []
        for _ in range(200):
            reader, writer = await asyncio.open_connection(*where)
            writer.write(request(BODY[:10], len(BODY), Ganmint_Timeout_S="3"))
            halves.append((reader, writer))
        await served(server, png)
        answers = [await answer(reader) for reader, _ in halves]
        # Closed, because nobody knows where the next request would begin.
        assert {await reader.read() for reader, _ in halves} == {b""}
        for _, writer in halves:
            writer.close()
        return answers

    for status, headers, body in asyncio.run(main()):
        assert (status, headers["content-type"], headers["connection"]) == (408, "application/problem+json", "close")
        assert "3 s" in json.loads(body)["detail"]
    assert counted(server, 'ganmint_requests_total{code="408",method="POST",route="/generate"}') == before + 200
    assert counted(server, 'ganmint_shed_total{reason="body_timeout"}') == before + 200


def test_a_body_that_comes_in_pieces_is_read_and_one_that_never_ends_is_forgotten(
    server: Server, where: tuple[str, int], png: bytes
) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection(*where)
        for k, byte in enumerate(request(BODY, Accept="image/png")):
            writer.write(bytes([byte]))
            if k % 20 == 0:
                await asyncio.sleep(0.005)
        assert (await answer(reader))[2] == png
        writer.write(request(BODY[:10], len(BODY)))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()

    before = counted(server, 'ganmint_shed_total{reason="client_gone"}')
    asyncio.run(main())
    for _ in range(100):
        if (gone := counted(server, 'ganmint_shed_total{reason="client_gone"}')) > before:
            break
    assert gone == before + 1
    assert "Traceback" not in server.log.read_text()


def test_callers_who_read_slowly_hold_nobody_up_and_get_all_of_it(
    server: Server, where: tuple[str, int], png: bytes
) -> None:
    wanted = b'{"model": "tiny", "seed": 7, "n": 200}'

    async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        slow = socket.socket()
        # The smallest window there is, set before the connection can agree on another.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        slow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(slow, where)
        return await asyncio.open_connection(sock=slow, limit=1024)

    async def main() -> list[bytes]:
        slow = [await connected() for _ in range(20)]
        for _, writer in slow:
            writer.write(request(wanted, Accept="application/zip", Connection="close"))
        starts = [await reader.readexactly(100) for reader, _ in slow]
        for _ in range(5):
            await served(server, png)
        answers = [start + await reader.read() for start, (reader, _) in zip(starts, slow)]
        for _, writer in slow:
            writer.close()
        return answers

    with httpx.Client(base_url=server.url, timeout=60) as client:
        whole = client.post("/generate", content=wanted, headers={"Accept": "application/zip"}).content
    (one, *others) = asyncio.run(main())
    head, _, chunked = one.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    assert unchunked(chunked) == whole
    assert {unchunked(other.partition(b"\r\n\r\n")[2]) for other in others} == {whole}
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.read("0.png") == png


def unchunked(body: bytes) -> bytes:
    """RFC 9112, section 7.1; the last chunk must be there."""
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            assert body == b"\r\n"
            return b"".join(parts)
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]


def test_pipelined_requests_are_answered_in_their_order(server: Server, where: tuple[str, int], png: bytes) -> None:
    async def main() -> list[tuple[int, dict[str, str], bytes]]:
        reader, writer = await asyncio.open_connection(*where)
        bad = request(b'{"model": "tiny", "n": 0}')
        bodies = [b'{"model": "tiny", "seed": 7, "index": %d}' % k for k in range(30)]
        writer.write(b"".join(request(body, Accept="image/png") + bad for body in bodies))
        answers = [await answer(reader) for _ in range(60)]
        writer.close()
        return answers

    answers = asyncio.run(main())
    assert [status for status, _, _ in answers] == [200, 422] * 30
    found = [headers["ganmint-address"].partition("?")[0] for _, headers, _ in answers[::2]]
    assert found == [f"tiny/1.0.0/7/{k}" for k in range(30)]
    assert answers[0][2] == png
