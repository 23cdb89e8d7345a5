"""Measures how long the service takes to be ready, and its memory, on both runtimes.

Run: make bench-start. Each round starts a fresh `ganmint serve` with the bundled models on each runtime in turn, waits
for /readyz, requests images, reads the peak resident memory (VmHWM) of the worker and of BentoML's arbiter, and stops
it. The reference, in the same rounds, is a bare Python that imports torch and FastAPI, which any PyTorch service has
to. The table has medians; its ratios are medians of the ratios within a round. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from benchmarks.servers import describe_machine, run_service
from models import store

RUNTIMES = ("onnx", "torchscript")
REFERENCE = "import torch, fastapi; print(open('/proc/self/status').read())"


class Start(NamedTuple):
    """One start.

    Attributes:
        ready_s: from the command to a /readyz of 200.
        worker_mib: peak resident memory of the worker.
        arbiter_mib: peak resident memory of the arbiter; 0 for the reference.
        has_torch: whether the worker has torch in its memory.
    """

    ready_s: float
    worker_mib: float
    arbiter_mib: float
    has_torch: bool


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2048, help="of each model, requested before memory is read")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["BENTOML_HOME"] = home
        names = [store.install(folder).name for folder in store.list_bundled()]
        rounds = []
        for number in range(arguments.rounds):
            # Every other round goes the other way, so that none always comes first.
            runtimes = RUNTIMES[:: -1 if number % 2 else 1]
            starts = {runtime: _measure_service(runtime, names, arguments.images) for runtime in runtimes}
            rounds.append({**starts, "reference": _measure_import()})
    print(f"{describe_machine()}; models {', '.join(names)}; medians of {len(rounds)} rounds\n")
    print("| | ready s | of TorchScript | worker MiB | of TorchScript | arbiter MiB | torch in the worker |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for row, title in (*((r, f"Ganmint, {r}") for r in RUNTIMES), ("reference", "`import torch, fastapi`")):
        print(f"| {title} | {_format_cells([r[row] for r in rounds], [r['torchscript'] for r in rounds])} |")


def _format_cells(starts: list[Start], references: list[Start]) -> str:
    ready_s = statistics.median(start.ready_s for start in starts)
    ready_ratio = statistics.median(start.ready_s / r.ready_s for start, r in zip(starts, references))
    worker_mib = statistics.median(start.worker_mib for start in starts)
    worker_ratio = statistics.median(start.worker_mib / r.worker_mib for start, r in zip(starts, references))
    arbiter_mib = statistics.median(start.arbiter_mib for start in starts)
    has_torch = "yes" if any(start.has_torch for start in starts) else "no"
    return (
        f"{ready_s:.2f} | {ready_ratio:.2f} | {worker_mib:.0f} | {worker_ratio:.2f} "
        f"| {f'{arbiter_mib:.0f}' if arbiter_mib else ''} | {has_torch}"
    )


def _measure_import() -> Start:
    started_at = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", REFERENCE], check=True, capture_output=True, text=True)
    return Start(time.perf_counter() - started_at, _parse_peak_mib(process.stdout), 0.0, has_torch=True)


def _measure_service(runtime: str, names: list[str], num_images: int) -> Start:
    started_at = time.perf_counter()
    with run_service(GANMINT_RUNTIME=runtime, GANMINT_DEVICE="cpu") as (port, (arbiter, *children)):
        ready_s = time.perf_counter() - started_at
        for name in names:
            for index in range(0, num_images, 256):
                body = json.dumps({"model": name, "seed": 0, "index": index, "n": 256}).encode()
                urllib.request.urlopen(f"http://127.0.0.1:{port}/generate", body, timeout=120).read()
        # The worker is the largest of them.
        worker = max(children, key=_read_peak_mib)
        has_torch = "libtorch" in Path(f"/proc/{worker}/maps").read_text()
        return Start(ready_s, _read_peak_mib(worker), _read_peak_mib(arbiter), has_torch)


def _read_peak_mib(pid: int) -> float:
    return _parse_peak_mib(Path(f"/proc/{pid}/status").read_text())


def _parse_peak_mib(status: str) -> float:
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
