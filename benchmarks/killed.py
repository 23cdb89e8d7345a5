"""Kills a worker (SIGKILL) under load and measures the lost requests and the time until the service is ready again.

Run: make bench-killed. Clients request single images on connections of their own and count each request as answered
(200), refused (another status, with Retry-After), or lost (no complete response). BentoML's arbiter keeps the port, so
that connections wait rather than fail while it starts another worker. The reference is the time that the same service
took to start. In a container BentoML starts no other worker: the container ends, and the cluster restarts it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from benchmarks.servers import describe_machine, run_service
from models import store

NUM_CLIENTS = 32
BEFORE_S = 3.0
AFTER_S = 3.0
TIMEOUT_S = 120.0


@dataclass
class Round:
    """The requests around one kill.

    Attributes:
        outcomes: how many requests had each outcome.
        waiting: requests without a response now.
        in_flight: requests without a response at the kill.
        first_answer_s: from the kill to the first answered request.
        ready_s: from the kill until the service is ready.
        is_over: whether the clients stop.
        killed_at: time.perf_counter() at the kill.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    in_flight: int = 0
    first_answer_s: float = 0.0
    ready_s: float = 0.0
    is_over: bool = False
    killed_at: float | None = None


async def _run_client(url: str, k: int, round_: Round) -> None:
    body = {"model": "digits", "seed": k}
    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=1)) as client:
        while not round_.is_over:
            round_.waiting += 1
            try:
                status = (await client.post(url + "/generate", json=body, headers={"Accept": "image/png"})).status_code
                outcome = "answered" if status == 200 else f"refused ({status})"
            except httpx.TransportError:
                outcome = "lost"
            round_.waiting -= 1
            if round_.killed_at is not None:
                outcome += " after"
                if outcome == "answered after" and not round_.first_answer_s:
                    round_.first_answer_s = time.perf_counter() - round_.killed_at
            round_.outcomes[outcome] += 1
            # After a refusal a client waits before its next request.
            await asyncio.sleep(0 if outcome.startswith("answered") else 0.2)


async def _kill(url: str, worker: int) -> Round:
    round_ = Round()
    clients = [asyncio.create_task(_run_client(url, k, round_)) for k in range(NUM_CLIENTS)]
    await asyncio.sleep(BEFORE_S)
    round_.in_flight = round_.waiting
    round_.killed_at = time.perf_counter()
    os.kill(worker, signal.SIGKILL)
    async with httpx.AsyncClient(timeout=1) as client:
        while time.perf_counter() - round_.killed_at < TIMEOUT_S:
            try:
                if (await client.get(url + "/readyz")).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)
    round_.ready_s = time.perf_counter() - round_.killed_at
    await asyncio.sleep(AFTER_S)
    round_.is_over = True
    await asyncio.gather(*clients)
    return round_


def main() -> None:
    """Print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(describe_machine())
    print(f"{NUM_CLIENTS} clients, {rounds} rounds\n")
    print("| round | start s | ready again s | ratio | in flight | lost | refused | answered after |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = folder
        store.install(store.BUNDLED / "digits")
        for k in range(rounds):
            started_at = time.perf_counter()
            with run_service() as (port, (_, worker)):
                start_s = time.perf_counter() - started_at
                one = asyncio.run(_kill(f"http://127.0.0.1:{port}", worker))
            refused = sum(count for outcome, count in one.outcomes.items() if outcome.startswith("refused"))
            lost = one.outcomes["lost"] + one.outcomes["lost after"]
            ratios.append(one.ready_s / start_s)
            print(
                f"| {k + 1} | {start_s:.1f} | {one.ready_s:.1f} | {ratios[-1]:.2f} | {one.in_flight} | {lost} "
                f"| {refused} | {one.outcomes['answered after']} |",
                flush=True,
            )
    print(f"\nready again after {statistics.median(ratios):.2f} times a start (median)")


if __name__ == "__main__":
    main()
