"""Sends load over HTTP/1.1 at little cost: one process and keep-alive connections.

Closed loop (the default): every connection sends its next request as soon as it has a response. Open loop (--rate):
requests are due at fixed times, independent of the responses, and latencies count from the time a request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from typing import cast

import uvloop

from benchmarks.servers import raise_file_limit

# How long to wait at the end of an open loop for missing responses.
DRAIN_TIMEOUT_S = 90.0


class Connection(asyncio.Protocol):
    """Sends one request at a time; a response ends by its Content-Length or its last chunk."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = bytearray()
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked by isinstance: uvloop's transports are classes of their own.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._run.on_free(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request; the connection must be free."""
        self._due = due
        self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = bytes(self._buffer[:head]).lower()
        if b"transfer-encoding: chunked" in lower:
            if not self._buffer.endswith(b"\r\n0\r\n\r\n"):
                return
        elif len(self._buffer) < head + 4 + int(_header(lower, b"content-length") or 0):
            return
        assert self._due is not None
        self._run.on_response(int(self._buffer[9:12]), self._due, lower)
        self._due = None
        self._buffer.clear()
        self._run.on_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due is not None:
            self._run.on_response(0, self._due, b"")
        self._run.on_closed(self)


class Run:
    """A closed loop over a fixed number of connections, and its latencies."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._next = 0
        self._open = arguments.connections
        self.done = asyncio.get_running_loop().create_future()
        self.started_at = time.perf_counter()
        self.ends_at = self.started_at + arguments.seconds
        self.latencies: dict[int, list[float]] = {}
        self.retry_after: dict[str, int] = {}

    def on_free(self, connection: Connection) -> None:
        """Send the next request on a free connection, or close it at the end."""
        now = time.perf_counter()
        if now < self.ends_at:
            connection.send(self.next_request(), now)
        else:
            connection.close()

    def next_request(self) -> bytes:
        """Build the next request."""
        k = self._next % self._arguments.cycle if self._arguments.cycle else self._next
        self._next += 1
        body = str(self._arguments.body).replace("INDEX", str(k)).encode()
        lines = [f"{self._arguments.method} {self._arguments.path.replace('INDEX', str(k))} HTTP/1.1", "Host: bench"]
        if self._arguments.accept:
            lines.append(f"Accept: {self._arguments.accept}")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def on_response(self, code: int, due: float, head: bytes) -> None:
        """Record a response, or with code 0 a lost connection."""
        self.latencies.setdefault(code, []).append(time.perf_counter() - due)
        if code == 429:
            after = (_header(head, b"retry-after") or b"none").decode()
            self.retry_after[after] = self.retry_after.get(after, 0) + 1

    def on_closed(self, connection: Connection) -> None:
        """Count a closed connection."""
        self._open -= 1
        if not self._open and not self.done.done():
            self.done.set_result(None)

    def report(self) -> dict[str, object]:
        """Return the metrics: totals, and the quantiles of each status code."""
        all_latencies = [s for latencies in self.latencies.values() for s in latencies]
        elapsed_s = time.perf_counter() - self.started_at
        return {
            "requests": len(all_latencies),
            "elapsed_s": elapsed_s,
            "per_s": len(all_latencies) / elapsed_s,
            **_quantiles(all_latencies),
            "codes": {code: len(latencies) for code, latencies in self.latencies.items()},
            "by_code": {code: _quantiles(latencies) for code, latencies in self.latencies.items()},
            "retry_after": self.retry_after,
            "cpu_s": time.process_time(),
        }


class OpenRun(Run):
    """An open loop: request k is due at k / rate, on a free connection or, where there is none, on a new one."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(arguments)
        self._free: list[Connection] = []
        self._dues: deque[float] = deque()
        self._unanswered = 0
        self._opening: set[asyncio.Task[None]] = set()

    def on_free(self, connection: Connection) -> None:
        # The last one used is used next: the server closes idle connections.
        self._free.append(connection)

    def on_response(self, code: int, due: float, head: bytes) -> None:
        super().on_response(code, due, head)
        self._unanswered -= 1

    def on_closed(self, connection: Connection) -> None:
        if connection in self._free:
            self._free.remove(connection)

    async def run(self, rate: float) -> None:
        """Send due requests every millisecond until the time is over and every response is there."""
        self.started_at = time.perf_counter()
        self.ends_at = self.started_at + self._arguments.seconds
        num_due = 0
        while (now := time.perf_counter()) < self.ends_at or (
            self._unanswered and now < self.ends_at + DRAIN_TIMEOUT_S
        ):
            while now < self.ends_at and num_due <= (now - self.started_at) * rate:
                self._dues.append(self.started_at + num_due / rate)
                num_due += 1
            while self._dues and self._free:
                self._unanswered += 1
                self._free.pop().send(self.next_request(), self._dues.popleft())
            for _ in range(len(self._dues) - len(self._opening)):
                opening = asyncio.create_task(connect(self, self._arguments.port))
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)
            await asyncio.sleep(0.001)
        # Code -1: never sent, because no connection could be opened.
        self.latencies.setdefault(-1, []).extend(now - due for due in self._dues)


async def connect(run: Run, port: int) -> None:
    """Open one more connection."""
    await asyncio.get_running_loop().create_connection(lambda: Connection(run), "127.0.0.1", port)


def _header(head: bytes, name: bytes) -> bytes | None:
    at = head.find(b"\r\n" + name + b":")
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip() if at >= 0 else None


def _quantiles(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies) or [0.0]
    return {f"p{q:g}_ms": ordered[min(len(ordered) - 1, int(len(ordered) * q / 100))] * 1000 for q in (50, 99)}


async def _main(arguments: argparse.Namespace) -> None:
    raise_file_limit()
    run = OpenRun(arguments) if arguments.rate else Run(arguments)
    for _ in range(arguments.connections):
        await connect(run, arguments.port)
    if isinstance(run, OpenRun):
        await run.run(arguments.rate)
    else:
        await run.done
    print(json.dumps(run.report()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second, independent of the responses")
    parser.add_argument("--method", default="POST")
    parser.add_argument("--path", default="/generate", help="INDEX is replaced by the request's number")
    parser.add_argument("--accept", default="")
    parser.add_argument("--body", default="", help="INDEX is replaced by the request's number")
    parser.add_argument("--cycle", type=int, default=0, help="begin again at 0 after so many numbers; 0: never")
    uvloop.run(_main(parser.parse_args()))
