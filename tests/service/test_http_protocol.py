"""What a connection may send beside bodies, against the protocol on a real socket with an app of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
import uvicorn.config

from service import http_protocol
from service.http_protocol import Limits
from tests.live.wire import RawResponse, encode_request, read_response
from tests.waiting import TIMEOUT_S

LIMITS = Limits(max_head_bytes=4096, head_timeout_s=0.2, keep_alive_s=TIMEOUT_S)
GET = b"GET / HTTP/1.1\r\nHost: t\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"x" * 65536
PATIENT = LIMITS._replace(head_timeout_s=TIMEOUT_S)
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Service:
    """An app behind the protocol: it answers with what it read, and how many headers it saw."""

    def __init__(self, port: int, refused: list[str]) -> None:
        self.port = port
        self.refused = refused

    async def connect(self) -> Connection:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    if scope["path"] != "/early":
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        else:
            return
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * LIMITS.head_timeout_s)
    answer = json.dumps({"body": len(body), "headers": len(scope["headers"])}).encode()
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def serve(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> AsyncIterator[Service]:
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    refused: list[str] = []
    http_protocol.install(limits, refused.append)
    # uvicorn's own time, of 5 s, must not be what ends a connection.
    config = uvicorn.Config(echo, port=0, lifespan="off", log_config=None, timeout_keep_alive=int(TIMEOUT_S))
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield Service(server.servers[0].sockets[0].getsockname()[1], refused)
    finally:
        server.should_exit = True
        await task


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a scenario against a service."""

    def run(scenario: Callable[[Service], Awaitable[None]], limits: Limits = LIMITS) -> None:
        async def main() -> None:
            async with serve(monkeypatch, limits) as service:
                await asyncio.wait_for(scenario(service), 20)

        asyncio.run(main())

    return run


async def read_problem(connection: Connection) -> RawResponse:
    """Read a response that is the connection's last."""
    response = await read_response(connection[0])
    assert response.headers["connection"] == "close"
    assert json.loads(response.body)["status"] == response.status
    assert await connection[0].read() == b""
    connection[1].close()
    return response


@pytest.mark.parametrize(
    "head",
    [
        GET + b"".join(b"h%d: v\r\n" % k for k in range(100)) + b"\r\n",
        GET + b"h: " + b"v" * 4096 + b"\r\n\r\n",
        GET + b"".join(b"h%d: %s\r\n" % (k, b"v" * 90) for k in range(50)) + b"\r\n",
        b"GET /" + b"u" * 4096 + b" HTTP/1.1\r\nHost: t\r\n\r\n",
    ],
    ids=["lines", "value", "bytes", "url"],
)
def test_a_head_that_is_too_large_is_refused(run: Callable[..., None], head: bytes) -> None:
    async def scenario(service: Service) -> None:
        connection = await service.connect()
        connection[1].write(head)
        assert (await read_problem(connection)).status == 431
        assert service.refused == ["head_too_large"]

    run(scenario, PATIENT)


@pytest.mark.parametrize(
    "start",
    [b"GET /", GET + b"h: ", GET, CHUNKED + b"2\r\nab\r\n0\r\nt: ", CHUNKED + b"2;e="],
    ids=["url", "value", "name", "trailer", "extension"],
)
def test_a_line_without_an_end_is_refused_before_it(run: Callable[..., None], start: bytes) -> None:
    async def scenario(service: Service) -> None:
        connection = await service.connect()
        problem = asyncio.create_task(read_problem(connection))
        connection[1].write(start)
        while not problem.done():
            connection[1].write(b"x" * 1000)
            await asyncio.sleep(0.002)
        assert (await problem).status == 431
        assert service.refused == ["head_too_large"]

    run(scenario, PATIENT)


def test_too_many_trailers_are_refused(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        connection = await service.connect()
        connection[1].write(CHUNKED + b"2\r\nab\r\n0\r\n" + b"t: v\r\n" * 102)
        assert (await read_problem(connection)).status == 431

    run(scenario, PATIENT)


def test_a_client_that_goes_on_sending_still_reads_why_it_was_refused(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        connection = await service.connect()
        for _ in range(100):
            connection[1].write(b"h: " + PIECE if _ else GET)
            await asyncio.sleep(0)
        assert (await read_response(connection[0])).status == 431
        connection[1].close()

    run(scenario)


def test_a_head_of_the_largest_size_is_served(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        reader, writer = await service.connect()
        lines = b"".join(b"h%02d: v\r\n" % k for k in range(98)) + b"l: " + b"v" * 3000 + b"\r\n\r\n"
        for _ in range(2):
            writer.write(GET + lines)
            assert json.loads((await read_response(reader)).body) == {"body": 0, "headers": 100}
        writer.close()

    run(scenario)


@pytest.mark.parametrize("part", [b"GET / HT", GET, b"\r\n"], ids=["line", "headers", "newline"])
def test_a_half_sent_head_is_refused_in_time(run: Callable[..., None], part: bytes) -> None:
    async def scenario(service: Service) -> None:
        connection = await service.connect()
        connection[1].write(part)
        assert (await read_problem(connection)).status == 408
        assert service.refused == ["head_timeout"]

    run(scenario)


def test_a_head_byte_by_byte_does_not_start_the_time_again(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        reader, writer = await service.connect()
        writer.write(encode_request(b"{}"))
        assert (await read_response(reader)).status == 200
        response = asyncio.create_task(read_problem((reader, writer)))
        while not response.done():
            writer.write(b"G" if not service.refused else b"")
            await asyncio.sleep(0.01)
            writer.write(b"ET / HTTP/1.1\r\nh: " if not service.refused else b"")
        assert (await response).status in (400, 408)

    run(scenario)


@pytest.mark.parametrize("rest", [b"\r\n", b"x"], ids=["newlines", "body"])
def test_what_follows_an_answer_does_not_keep_a_connection_open(run: Callable[..., None], rest: bytes) -> None:
    async def scenario(service: Service) -> None:
        reader, writer = await service.connect()
        length = 1000 if rest == b"x" else 0
        writer.write(b"POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % length)
        assert (await read_response(reader)).status == 200
        end = asyncio.create_task(reader.read())
        while not end.done():
            writer.write(rest)
            await asyncio.sleep(0.02)
        assert await end == b""
        writer.close()

    run(scenario)


def test_requests_before_a_bad_head_get_their_answers(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        reader, writer = await service.connect()
        slow = b"GET /slow HTTP/1.1\r\nHost: t\r\n\r\n"
        writer.write(slow * 2 + GET)
        answers = [await read_response(reader) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[1].headers["connection"] == "close"
        assert (await reader.read(), service.refused) == (b"", ["head_timeout"])
        writer.close()

    run(scenario)


def test_an_idle_connection_is_closed_after_the_keep_alive_time(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        idle = await service.connect()
        reader, writer = await service.connect()
        for _ in range(3):
            writer.write(encode_request(b"{}"))
            await read_response(reader)
            await asyncio.sleep(0.05)
        # Longer than the time of a head, which does not hold while nothing is sent.
        started_at = asyncio.get_running_loop().time()
        assert await reader.read() == b"" == await idle[0].read()
        assert asyncio.get_running_loop().time() - started_at > 0.3
        assert service.refused == []
        for one in (writer, idle[1]):
            one.close()

    run(scenario, LIMITS._replace(keep_alive_s=0.5))


def test_trailers_are_not_headers(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        reader, writer = await service.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        writer.write(b"0\r\nAuthorization: Bearer x\r\n\r\n")
        assert json.loads((await read_response(reader)).body) == {"body": 2, "headers": 2}
        writer.close()

    run(scenario)


def test_an_upgrade_is_ignored_and_ends_the_connection(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        for protocol in (b"h2c", b"websocket"):
            reader, writer = await service.connect()
            writer.write(GET + b"Connection: Upgrade\r\nUpgrade: %s\r\n\r\n" % protocol)
            response = await read_response(reader)
            assert (response.status, response.headers["connection"]) == (200, "close")
            assert await reader.read() == b""
            writer.close()

    run(scenario)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("is_split", [False, True])
def test_the_body_of_an_upgrade_is_read(run: Callable[..., None], is_chunked: bool, is_split: bool) -> None:
    head = b"POST / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    if is_chunked:
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        body = b"6\r\nabcdef\r\n3\r\nghi\r\n0\r\nX-Trailer: 1\r\n\r\n"
    else:
        head, body = head + b"Content-Length: 9\r\n\r\n", b"abcdefghi"

    async def scenario(service: Service) -> None:
        reader, writer = await service.connect()
        if is_split:
            for byte in head[:-2], head[-2:], *(body[at : at + 1] for at in range(len(body))):
                writer.write(byte)
                await writer.drain()
                await asyncio.sleep(0.001)
        else:
            writer.write(head + body + GET + b"\r\n")
        response = await read_response(reader)
        assert json.loads(response.body) == {"body": 9, "headers": 4}
        assert response.headers["connection"] == "close"
        # A request behind it is not answered: the client that asked for another protocol may have meant that.
        assert await reader.read() == b""
        writer.close()

    run(scenario)


def test_a_body_that_is_broken_behind_an_upgrade_is_refused(run: Callable[..., None]) -> None:
    async def scenario(service: Service) -> None:
        for is_split in (False, True):
            reader, writer = await service.connect()
            writer.write(CHUNKED.replace(b"Host: t", b"Connection: Upgrade\r\nUpgrade: h2c"))
            if is_split:
                await asyncio.sleep(0.01)
            writer.write(b"zz\r\n")
            assert (await read_response(reader)).status == 400
            writer.close()

    run(scenario)
