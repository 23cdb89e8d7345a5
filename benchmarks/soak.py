"""Sends many requests of every kind and compares each response with what the models mint in this process.

Run: make soak. Two models (the bundled digits and a small untrained one), every format, permanent addresses with and
without If-None-Match, HEAD, requests that must be refused, and clients that disconnect midway, in random order over
keep-alive connections. The first response to each prepared request is decoded and compared with `models.*`; every later
one must have the same bytes. Prints the worker's memory on the way; exits with 1 if any response was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httptools
import numpy as np
import uvloop

from benchmarks.exchanges import WEIGHTS, Exchange, Headers, prepare
from benchmarks.models import SMALL, export
from benchmarks.servers import describe_machine, read_rss_mib, run_service
from models import artifact, store

DISCONNECT_SHARE = 0.01
DISCONNECT_WITHIN_S = 0.05


def main() -> None:
    """Run the soak test and print its metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pool", type=int, default=4000, help="different requests")
    arguments = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = folder
        samplers = []
        for path in (store.BUNDLED / "digits", export("small", SMALL, Path(folder))):
            store.install(path)
            samplers.append(artifact.load(path))
        pool = prepare(samplers, arguments.pool)
        with run_service() as (port, pids):
            worker = max(pids, key=read_rss_mib)
            run = uvloop.run(_soak(port, worker, pool, arguments.requests, arguments.connections))
    sys.exit(run.report())


class Run:
    """The state of the soak test: which requests to send, and counters."""

    def __init__(self, worker: int, pool: list[Exchange], requests: int) -> None:
        self._worker = worker
        self.requests = requests
        self._rng = random.Random(1)
        kinds = {kind: [e for e in pool if e.kind == kind] for kind in WEIGHTS}
        self._kinds = list(kinds.values())
        self._weights = list(WEIGHTS.values())
        self.sent = 0
        self.disconnected = 0
        self.right: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.memory: list[tuple[int, float]] = []
        self.started_at = time.perf_counter()
        self.ended_at = self.started_at

    def next_exchanges(self) -> Iterator[Exchange]:
        """Yield exchanges until there are enough; shared by all connections."""
        while self.sent < self.requests:
            self.sent += 1
            if self.sent % max(1, self.requests // 100) == 0:
                self._record_memory()
            (kind,) = self._rng.choices(self._kinds, self._weights)
            yield self._rng.choice(kind)

    def draw_disconnect_s(self) -> float | None:
        """Draw the time after which the client disconnects; None: it stays."""
        if self._rng.random() >= DISCONNECT_SHARE:
            return None
        return self._rng.random() * DISCONNECT_WITHIN_S

    def record_response(self, exchange: Exchange, status: int, headers: Headers, body: bytes) -> None:
        """Check a response and count it."""
        right = exchange.is_right(status, headers, body)
        (self.right if right else self.wrong)[exchange.kind] += 1
        if not right and sum(self.wrong.values()) <= 10:
            print(f"WRONG: {exchange.request!r} -> {status} {body[:300]!r}", file=sys.stderr)

    def _record_memory(self) -> None:
        self.memory.append((self.sent, read_rss_mib(self._worker)))
        if len(self.memory) % 10 == 0:
            rate = self.sent / (time.perf_counter() - self.started_at)
            print(f"{self.sent:8} requests, {rate:5.0f}/s, worker {self.memory[-1][1]:.0f} MiB", flush=True)

    def report(self) -> int:
        """Print the metrics; returns the exit code."""
        elapsed_s = self.ended_at - self.started_at
        later = self.memory[len(self.memory) // 10 :]
        slope = np.polyfit([at for at, _ in later], [mib for _, mib in later], 1)[0] * 100_000
        wrong = sum(self.wrong.values())
        print(", ".join(f"{kind} {count}" for kind, count in sorted(self.right.items())))
        print(f"{self.sent} requests in {elapsed_s:.0f} s ({self.sent / elapsed_s:.0f}/s); ", end="")
        print(f"{self.disconnected} disconnected")
        print(f"worker memory {later[0][1]:.0f} MiB after a tenth, {later[-1][1]:.0f} MiB at the end, ", end="")
        print(f"{slope:+.1f} MiB per 100,000 requests; wrong responses: {wrong} {dict(self.wrong) or ''}")
        complete = wrong + sum(self.right.values()) + self.disconnected == self.requests
        return 0 if complete and not wrong else 1


class _Connection(asyncio.Protocol):
    """Sends one request after the other; `done` resolves when either side has closed."""

    def __init__(self, run: Run, exchanges: Iterator[Exchange]) -> None:
        self._run = run
        self._exchanges = exchanges
        self._exchange: Exchange | None = None
        self._disconnect_timer: asyncio.TimerHandle | None = None
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked by isinstance: uvloop's transports are classes of their own.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def _send(self) -> None:
        self._exchange = next(self._exchanges, None)
        if self._exchange is None:
            self._transport.close()
            return
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = {}
        self._body = b""
        self._transport.write(self._exchange.request)
        delay_s = self._run.draw_disconnect_s()
        if delay_s is not None:
            self._disconnect_timer = asyncio.get_running_loop().call_later(delay_s, self._disconnect)

    def _disconnect(self) -> None:
        self._run.disconnected += 1
        self._exchange = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._exchange:
            self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._exchange and self._exchange.kind == "head":
            # The parser would wait for the body that Content-Length announces.
            asyncio.get_running_loop().call_soon(self._on_response, self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        # In the next turn, because the parser must not be replaced while it runs.
        asyncio.get_running_loop().call_soon(self._on_response, self._parser.get_status_code())

    def _on_response(self, status: int) -> None:
        if self._disconnect_timer:
            self._disconnect_timer.cancel()
            self._disconnect_timer = None
        if self._exchange:
            self._run.record_response(self._exchange, status, self._headers, self._body)
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._disconnect_timer:
            self._disconnect_timer.cancel()
        if self._exchange:
            self._run.record_response(self._exchange, 0, {}, f"connection lost: {exc}".encode())
        if not self.done.done():
            self.done.set_result(None)


async def _soak(port: int, worker: int, pool: list[Exchange], requests: int, connections: int) -> Run:
    run = Run(worker, pool, requests)
    exchanges = run.next_exchanges()

    async def run_client() -> None:
        while run.sent < run.requests:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(run, exchanges), "127.0.0.1", port
            )
            await connection.done

    await asyncio.gather(*(run_client() for _ in range(connections)))
    run.ended_at = time.perf_counter()
    return run


if __name__ == "__main__":
    main()
