"""A load generator that costs little: one process, keep-alive connections, requests made beforehand.

Knows: sending HTTP/1.1 requests and timing their answers. Does not know: what is served.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import cast

import uvloop


class _Connection(asyncio.Protocol):
    """Sends its requests one after the other; an answer ends by its Content-Length or its last chunk."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._buffer = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked by isinstance: uvloop's transports are classes of their own.
        self._transport = cast(asyncio.WriteTransport, transport)
        self.send()

    def send(self) -> None:
        assert self._transport is not None
        request = self._run.next_request()
        if request is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = bytes(self._buffer[:head]).lower()
        if b"transfer-encoding: chunked" in lower:
            if not self._buffer.endswith(b"\r\n0\r\n\r\n"):
                return
        else:
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < head + 4 + length:
                return
        self._run.answered(int(self._buffer[9:12]), time.perf_counter() - self._sent)
        self._buffer.clear()
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.closed(exc)


class _Run:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._next = 0
        self._open = arguments.connections
        self.latencies: list[float] = []
        self.codes: dict[int, int] = {}
        self.done = asyncio.get_running_loop().create_future()
        self._ends = time.perf_counter() + arguments.seconds

    def next_request(self) -> bytes | None:
        if time.perf_counter() >= self._ends:
            return None
        k, self._next = self._next, self._next + 1
        body = self._arguments.body.replace("INDEX", str(k)).encode()
        lines = [f"{self._arguments.method} {self._arguments.path.replace('INDEX', str(k))} HTTP/1.1", "Host: bench"]
        if self._arguments.accept:
            lines.append(f"Accept: {self._arguments.accept}")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def answered(self, code: int, seconds: float) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
        self.latencies.append(seconds)

    def closed(self, error: Exception | None) -> None:
        self._open -= 1
        if not self._open and not self.done.done():
            self.done.set_result(None)


async def _main(arguments: argparse.Namespace) -> None:
    run, started = _Run(arguments), time.perf_counter()
    loop = asyncio.get_running_loop()
    for _ in range(arguments.connections):
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", arguments.port)
    await run.done
    elapsed = time.perf_counter() - started
    ordered = sorted(run.latencies) or [0.0]
    quantile = {q: ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000 for q in (0.5, 0.99)}
    print(
        json.dumps(
            {
                "requests": len(run.latencies),
                "per_s": len(run.latencies) / elapsed,
                "p50_ms": quantile[0.5],
                "p99_ms": quantile[0.99],
                "codes": run.codes,
                "cpu_s": time.process_time(),
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--method", default="POST")
    parser.add_argument("--path", default="/generate", help="INDEX is replaced by the request's number")
    parser.add_argument("--accept", default="")
    parser.add_argument("--body", default="", help="INDEX is replaced by the request's number")
    uvloop.run(_main(parser.parse_args()))
