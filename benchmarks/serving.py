"""Measures serving on both runtimes beside the ceiling of each and beside a peer, interleaved over rounds.

Run: make bench-serving, or python -m benchmarks.serving --quick for digits only. Ganmint runs on onnx and on
torchscript, on the CPU. The ceiling (benchmarks/ceiling.py) is a plain loop in one process. The peer is Mosec with the
same ONNX file (benchmarks/peers/mosec_server.py). All servers of a model stay up for all of its rounds. The table has
medians over rounds; its ratios are medians of the ratios within a round. CPU is the processor time of all processes of
a server.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.servers import (
    describe_machine,
    find_free_port,
    list_process_tree,
    read_cpu_s,
    run_process,
    run_service,
    wait_until_ready,
)
from models import store
from models.manifest import Manifest, read_manifest

MODELS = ("digits", "faces")
RUNTIMES = ("onnx", "torchscript")
PEER = "Mosec, onnx"
CEILING = "ceiling"
NEW = "permanent image, new"
AGAIN = "permanent image, again"
IDLE_S = 2.0

Row = dict[str, float]
# By scenario and by what served it: a runtime or the peer.
Round = dict[tuple[str, str], Row]


class Scenario(NamedTuple):
    """Requests to POST /generate.

    Attributes:
        title: of its rows.
        n: images in a request; one as PNG, more as npz.
        connections: each sends its next request when it has the response.
        time_share: how much of --seconds it takes.
    """

    title: str
    n: int
    connections: int
    time_share: float


SCENARIOS = (
    Scenario("n = 256 npz", 256, 2, 1.0),
    Scenario("n = 1 PNG, 1 connection", 1, 1, 0.5),
    Scenario("n = 1 PNG, 64 connections", 1, 64, 1.0),
)


class Server(NamedTuple):
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        pids: of all its processes.
    """

    port: int
    pids: list[int]


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a measurement; some take half of it")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--quick", action="store_true", help="digits only, 3 rounds")
    parser.add_argument("--no-peer", action="store_true", help="skip Mosec")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.models = ["digits"]
        arguments.rounds = min(arguments.rounds, 3)
    if not arguments.no_peer and importlib.util.find_spec("mosec") is None:
        parser.error("Mosec is not installed: pip install mosec, or give --no-peer")
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = folder
        for name in arguments.models:
            store.install(store.BUNDLED / name)
            started_at = time.perf_counter()
            _measure_model(store.BUNDLED / name, arguments)
            print(f"\n{time.perf_counter() - started_at:.0f} s", flush=True)


def _measure_model(path: Path, arguments: argparse.Namespace) -> None:
    manifest = read_manifest(path)
    ceiling = [sys.executable, "-m", "benchmarks.ceiling", str(path), "--device", "cpu"]
    best = _run_json([*ceiling, "--runtime", "onnx", "--find-batch-size"])
    batch_size = int(best["batch_size"])
    with contextlib.ExitStack() as stack:
        servers = {runtime: stack.enter_context(_run_ganmint(manifest.name, runtime)) for runtime in RUNTIMES}
        if not arguments.no_peer:
            servers[PEER] = stack.enter_context(_run_mosec(path))
        for subject, server in servers.items():
            _load(server, *_make_request(manifest, subject, 1), connections=64, seconds=1)
        before_s = {subject: read_cpu_s(server.pids) for subject, server in servers.items()}
        time.sleep(IDLE_S)
        idle_shares = [
            f"{subject} {(read_cpu_s(server.pids) - before_s[subject]) / IDLE_S:.1%}"
            for subject, server in servers.items()
        ]
        rounds = []
        for number in range(arguments.rounds):
            # Every other round goes the other way, so that none always comes first.
            subjects = list(servers)[:: -1 if number % 2 else 1]
            round_ = _measure_ceilings(ceiling, subjects, batch_size, arguments.seconds)
            for scenario in SCENARIOS:
                round_ |= _measure_scenario(scenario, manifest, servers, subjects, arguments.seconds)
            round_ |= _measure_cache(manifest, servers, subjects, number, arguments.seconds / 2)
            rounds.append(round_)
    print(
        f"\n{manifest.name} {manifest.version}, {len(rounds)} rounds; batches of at most "
        f"{manifest.batch_size['cpu']}, in the ONNX ceiling of {batch_size}"
    )
    print(f"CPU ms an image of ONNX by batch: {', '.join(f'{k}: {ms:.2f}' for k, ms in best['cpu_ms'].items())}")
    print(f"idle servers use of a core: {', '.join(idle_shares)}\n")
    _print_table(rounds)
    _print_cache_ratios(rounds)


def _measure_ceilings(command: list[str], subjects: list[str], batch_size: int, seconds: float) -> Round:
    rows = {}
    for runtime in subjects:
        if runtime in RUNTIMES:
            options = ["--batch-size", str(batch_size)] if runtime == "onnx" else []
            rows[CEILING, runtime] = _run_json([*command, "--runtime", runtime, "--seconds", str(seconds), *options])
    return rows


def _measure_scenario(
    scenario: Scenario, manifest: Manifest, servers: dict[str, Server], subjects: list[str], seconds: float
) -> Round:
    rows = {}
    for subject in subjects:
        # The peer's response has one image.
        if subject == PEER and scenario.n > 1:
            continue
        request = _make_request(manifest, subject, scenario.n)
        row = _load(servers[subject], *request, connections=scenario.connections, seconds=seconds * scenario.time_share)
        row |= {"per_s": row["per_s"] * scenario.n, "cpu_ms": row["cpu_ms"] / scenario.n}
        rows[scenario.title, subject] = row
    return rows


def _measure_cache(
    manifest: Manifest, servers: dict[str, Server], subjects: list[str], seed: int, seconds: float
) -> Round:
    """Ask for permanent images that are new, and then for the same ones again."""
    rows = {}
    for runtime in subjects:
        if runtime == PEER:
            continue
        path = f"/v1/images/{manifest.name}/{manifest.version}/{seed}/INDEX.png"
        request = ["--method", "GET", "--path", path]
        new = _load(servers[runtime], *request, connections=64, seconds=seconds)
        hits_before = _read_cache_hits(servers[runtime].port)
        again = _load(servers[runtime], *request, "--cycle", str(int(new["requests"])), connections=64, seconds=seconds)
        hits = _read_cache_hits(servers[runtime].port) - hits_before
        if hits < again["requests"]:
            sys.exit(f"of {again['requests']} images that were asked for again, only {hits} came from the cache")
        rows[NEW, runtime] = new
        rows[AGAIN, runtime] = again
    return rows


def _print_table(rounds: list[Round]) -> None:
    def median(key: tuple[str, str], value: str) -> float:
        return statistics.median(round_[key][value] for round_ in rounds)

    def ratio(key: tuple[str, str], reference: tuple[str, str], value: str) -> str:
        return f"{statistics.median(round_[key][value] / round_[reference][value] for round_ in rounds):.2f}"

    print(
        "| | images/s | of ONNX ceiling | of TorchScript | CPU ms an image | of ONNX ceiling | of TorchScript "
        "| p50 ms | of TorchScript | p99 ms |"
    )
    print("| --- |" + " ---: |" * 9)
    for key in sorted(rounds[0], key=_sort_key):
        scenario, subject = key
        cells = [f"{scenario}, {subject if subject == PEER or scenario == CEILING else f'Ganmint, {subject}'}"]
        for value, digits in (("per_s", 0), ("cpu_ms", 2)):
            cells.append(f"{median(key, value):.{digits}f}")
            cells.append(ratio(key, (CEILING, "onnx"), value))
            cells.append(ratio(key, (scenario, "torchscript"), value))
        if "p50_ms" in rounds[0][key]:
            cells.append(f"{median(key, 'p50_ms'):.1f}")
            cells.append(ratio(key, (scenario, "torchscript"), "p50_ms"))
            cells.append(f"{median(key, 'p99_ms'):.1f}")
        else:
            cells += [""] * 3
        print("| " + " | ".join(cells) + " |")


def _print_cache_ratios(rounds: list[Round]) -> None:
    ratios = [
        f"{runtime} {statistics.median(r[AGAIN, runtime]['per_s'] / r[NEW, runtime]['per_s'] for r in rounds):.1f}"
        for runtime in RUNTIMES
    ]
    print(f"\nrequests/s of permanent images asked for again, in those of new ones: {', '.join(ratios)}")


def _sort_key(key: tuple[str, str]) -> tuple[int, int]:
    scenarios = [CEILING, *(scenario.title for scenario in SCENARIOS), NEW, AGAIN]
    return scenarios.index(key[0]), [*RUNTIMES, PEER].index(key[1])


def _make_request(manifest: Manifest, subject: str, n: int) -> list[str]:
    """Return the options of benchmarks.load for a request for n images of new addresses."""
    if subject == PEER:
        return ["--path", "/inference", "--body", '{"seed": 1, "index": INDEX, "label": 0}']
    body = f'{{"model": "{manifest.name}", "seed": 1, "index": INDEX, "n": {n}}}'
    return ["--body", body, "--accept", "image/png" if n == 1 else "application/x-npz"]


def _load(server: Server, *request: str, connections: int, seconds: float) -> Row:
    """Send requests for some seconds; exit if a response is not 200."""
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.port), *request]
    before_s = read_cpu_s(server.pids)
    row = _run_json([*command, "--connections", str(connections), "--seconds", str(seconds)])
    codes = row.pop("codes")
    if set(codes) != {"200"}:
        sys.exit(f"statuses other than 200: {codes}")
    return {**row, "cpu_ms": (read_cpu_s(server.pids) - before_s) / row["requests"] * 1000}


@contextlib.contextmanager
def _run_ganmint(model: str, runtime: str) -> Iterator[Server]:
    with run_service(GANMINT_RUNTIME=runtime, GANMINT_DEVICE="cpu", GANMINT_MODELS=model) as (port, pids):
        runtimes = json.loads(_get(port, "/v1/models"))["runtimes"]
        actual = {loaded["runtime"] for loaded in runtimes if loaded["model"] == model}
        if actual != {runtime}:
            sys.exit(f"{model} runs on {', '.join(sorted(actual))}, not on {runtime}")
        yield Server(port, pids)


@contextlib.contextmanager
def _run_mosec(path: Path) -> Iterator[Server]:
    port = find_free_port()
    command = [sys.executable, "-m", "benchmarks.peers.mosec_server", "--port", str(port), "--log-level", "error"]
    with run_process(command, {"PEER_ARTIFACT": str(path)}) as pid:
        wait_until_ready(f"http://127.0.0.1:{port}/")
        # It responds before its worker has started.
        time.sleep(2)
        yield Server(port, list_process_tree(pid))


def _read_cache_hits(port: int) -> int:
    found = re.search(r'^ganmint_cache_requests_total\{result="hit"\} (\S+)', _get(port, "/metrics"), re.MULTILINE)
    return int(float(found[1])) if found else 0


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        text: str = response.read().decode()
        return text


def _run_json(command: list[str]) -> dict[str, Any]:
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    result: dict[str, Any] = json.loads(process.stdout)
    return result


if __name__ == "__main__":
    main()
