"""Measures serving beside its ceiling and beside a peer, interleaved over rounds.

Run: make bench-serving. Per model: the ceiling (benchmarks/ceiling.py), this service and Mosec, each
alone, with 64 keep-alive connections that request single PNG images of new addresses; then this
service with n = 16 and n = 256 (npz, so that the images count and not the base64), one connection
on an idle server, and two workers beside two ceilings at once (what two cores give at most). CPU is
the processor time of all server processes. Medians over rounds; all shares are of the same round's
ceiling.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.models import FACES_SIZED, export
from benchmarks.servers import (
    find_free_port,
    get_cpu_name,
    list_process_tree,
    read_cpu_s,
    run_process,
    run_service,
    wait_until_ready,
)
from models import store
from models.manifest import read_manifest

Row = dict[str, float]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--no-peer", action="store_true", help="skip Mosec")
    parser.add_argument("--only", choices=["digits", "faces-sized"])
    arguments = parser.parse_args()
    print(f"{get_cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = folder
        models = {
            "digits": store.BUNDLED / "digits",
            "faces-sized": export("faces-sized", FACES_SIZED, Path(folder)),
        }
        for name, path in models.items():
            if arguments.only in (None, name):
                store.install(path)
                _report(name, [_round(path, arguments) for _ in range(arguments.rounds)])


def _round(path: Path, arguments: argparse.Namespace) -> dict[str, Row]:
    manifest = read_manifest(path)
    command = [sys.executable, "-m", "benchmarks.ceiling", str(path), "--seconds", str(arguments.seconds)]
    rows = {"ceiling": _json(command)}
    with ThreadPoolExecutor(2) as pool:
        pair = list(pool.map(_json, [command, command]))
    rows["two ceilings at once"] = {
        "per_s": sum(one["per_s"] for one in pair),
        "cpu_ms": statistics.mean(one["cpu_ms"] for one in pair),
    }
    one = json.dumps({"model": manifest.name, "seed": 1, "index": "INDEX"}).replace('"INDEX"', "INDEX")
    with run_service() as (port, pids):
        rows["ganmint, n = 1"] = _load(port, pids, arguments.seconds, one, "image/png")
        for n in (16, 256):
            many = json.dumps({"model": manifest.name, "seed": 1, "index": "INDEX", "n": n}).replace('"INDEX"', "INDEX")
            row = _load(port, pids, arguments.seconds, many, "application/x-npz", max(64 // n, 4))
            rows[f"ganmint, n = {n}"] = {**row, "per_s": row["per_s"] * n, "cpu_ms": row["cpu_ms"] / n}
        rows["ganmint, idle, 1 connection"] = _load(port, pids, arguments.seconds, one, "image/png", 1)
    with run_service(GANMINT_WORKERS="2") as (port, pids):
        # Only one worker is known to be ready; the other takes no longer.
        time.sleep(5)
        rows["ganmint, 2 workers, n = 1"] = _load(port, pids, arguments.seconds, one, "image/png")
    if not arguments.no_peer:
        body = json.dumps({"seed": 1, "index": "INDEX", "label": 0}).replace('"INDEX"', "INDEX")
        with _mosec(path) as (port, pids):
            rows["mosec, n = 1"] = _load(port, pids, arguments.seconds, body, "", path="/inference")
    return rows


def _report(name: str, rounds: list[dict[str, Row]]) -> None:
    def median(row: str, value: str) -> float:
        return statistics.median(r[row][value] for r in rounds)

    def share(row: str, value: str) -> float:
        return statistics.median(r[row][value] / r["ceiling"][value] for r in rounds)

    batch = f"fixed batch {rounds[0]['ceiling']['batch_size']:g}, one forward {median('ceiling', 'batch_ms'):.2f} ms"
    print(f"\n{name}: {batch}; {len(rounds)} rounds")
    columns = ("images/s", "of ceiling", "CPU ms/image", "of ceiling", "p50 ms", "p99 ms", "p99/p50")
    print(f"{'':30}" + "".join(f"{column:>{len(column) + 2}}" for column in columns))
    for row in rounds[0]:
        line = f"{row:30}{median(row, 'per_s'):10.0f}{share(row, 'per_s'):12.2f}"
        line += f"{median(row, 'cpu_ms'):14.2f}{share(row, 'cpu_ms'):12.2f}"
        if "p50_ms" in rounds[0][row]:
            p50, p99 = median(row, "p50_ms"), median(row, "p99_ms")
            line += f"{p50:8.1f}{p99:8.1f}{p99 / p50:9.2f}"
        print(line)


def _load(
    port: int, pids: list[int], seconds: float, body: str, accept: str, connections: int = 64, path: str = "/generate"
) -> Row:
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--body", body, "--path", path]
    command += ["--connections", str(connections), "--accept", accept]
    _json([*command, "--seconds", "1"])
    before = read_cpu_s(pids)
    row = _json([*command, "--seconds", str(seconds)])
    codes = row.pop("codes")
    if set(codes) != {"200"}:
        sys.exit(f"statuses other than 200: {codes}")
    return {**row, "cpu_ms": (read_cpu_s(pids) - before) / row["requests"] * 1000}


@contextlib.contextmanager
def _mosec(path: Path) -> Iterator[tuple[int, list[int]]]:
    port = find_free_port()
    command = [sys.executable, "-m", "benchmarks.peers.mosec_server", "--port", str(port), "--log-level", "error"]
    with run_process(command, {"PEER_ARTIFACT": str(path)}) as pid:
        wait_until_ready(f"http://127.0.0.1:{port}/")
        time.sleep(2)
        yield port, list_process_tree(pid)


def _json(command: list[str]) -> dict[str, Any]:
    process = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    result: dict[str, Any] = json.loads(process.stdout)
    return result


if __name__ == "__main__":
    main()
