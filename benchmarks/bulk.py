"""Bulk export against the raw ceiling and a simple script, interleaved over rounds.

Run: make bench-bulk. The ceiling is benchmarks/ceiling.py: latents, forward at the fixed batch and PNG in a plain
loop in one process, no disk; for two workers, two of them at once. The script is what a user would write
(benchmarks/peers/simple_export.py). Exports write to TMPDIR; their rate is of the images after each
worker's first shard, so that start-up, which any count shares, is left out. Shares are medians of the same
round's ceiling. --memory instead prints the peak resident memory of exports
of 8x8 images as idx, by count.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.models import FACES_SIZED, SMALLEST, export
from benchmarks.servers import get_cpu_name
from models import store

FORMATS = ("imagefolder", "webdataset")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement, about")
    parser.add_argument("--memory", type=int, nargs="*", metavar="COUNT", help="peak memory instead")
    arguments = parser.parse_args()
    print(f"{get_cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = folder
        if arguments.memory is not None:
            store.install(export("smallest", SMALLEST, Path(folder), batch_size=64))
            _memory(arguments.memory or [10_000, 1_000_000])
            return
        models = {
            "digits": store.BUNDLED / "digits",
            "faces-sized": export("faces-sized", FACES_SIZED, Path(folder)),
        }
        for name, path in models.items():
            store.install(path)
            _report(name, [_round(name, path, arguments.seconds) for _ in range(arguments.rounds)])


def _round(name: str, path: Path, seconds: float) -> dict[str, float]:
    one = _ceilings(path, seconds, 1)
    # Whole shards, about as many as the time allows.
    size = max(64, round(one * seconds / 5))
    rows = {"ceiling, 1 worker": one, "ceiling, 2 workers": _ceilings(path, seconds, 2)}
    rows |= {f"{f}, {w} worker(s)": _export(name, f, w, size) for f in FORMATS for w in (1, 2)}
    return {**rows, "simple script": _simple(path, seconds)}


def _report(name: str, rounds: list[dict[str, float]]) -> None:
    print(
        f"\n{name}; medians of {len(rounds)} rounds\n{'':28}{'images/s':>10}{'of ceiling':>12}{'least':>8}{'most':>8}"
    )
    for row in rounds[0]:
        ceiling = f"ceiling, {'2 workers' if ' 2 ' in row else '1 worker'}"
        shares = [r[row] / r[ceiling] for r in rounds]
        rate = statistics.median(r[row] for r in rounds)
        print(f"{row:28}{rate:10.0f}{statistics.median(shares):12.2f}{min(shares):8.2f}{max(shares):8.2f}")


def _ceilings(path: Path, seconds: float, processes: int) -> float:
    command = [sys.executable, "-m", "benchmarks.ceiling", str(path), "--seconds", str(seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return sum(float(json.loads(process.communicate(timeout=120)[0])["per_s"]) for process in running)


def _simple(path: Path, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as out:
        script = [sys.executable, "-m", "benchmarks.peers.simple_export", str(path), out, "--seconds", str(seconds)]
        done = subprocess.run(script, check=True, capture_output=True, text=True, timeout=120)
    return float(done.stdout)


def _export(name: str, format_: str, workers: int, size: int) -> float:
    """Images/s from the moment when every worker works, to the last commit."""
    with tempfile.TemporaryDirectory() as out:
        shards = 6 * workers
        command = [sys.executable, "-m", "ganmint", "export", name, "--count", str(size * shards), "--seed", "1"]
        command += ["--labels", "balanced", "--shard-size", str(size), "--workers", str(workers), "--device", "cpu"]
        command += ["--format", format_, "--out", out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
        times = sorted(p.stat().st_mtime for p in (Path(out) / ".ganmint" / "shards").iterdir())
    # The first shard of each worker brings start-up and warming.
    return (shards - workers) * size / (times[-1] - times[workers - 1])


def _memory(counts: list[int]) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "ganmint", "export", "smallest", "--count", str(count), "--device", "cpu"]
            started = time.monotonic()
            process = subprocess.Popen([*command, "--format", "idx", "--out", out], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit("the export failed")
            print(f"{count:8} images: {usage.ru_maxrss / 1024:.0f} MiB, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
