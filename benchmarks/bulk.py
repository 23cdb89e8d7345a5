"""Measures bulk exports on both runtimes beside the ceiling of each and a simple script, interleaved over rounds.

Run: make bench-bulk. The ceiling is benchmarks/ceiling.py: latents, forward in full batches and PNG in a plain loop in
one process, no disk; with --workers N, N of them at once. The script is what a user would write
(benchmarks/peers/simple_export.py), on TorchScript. Exports write to TMPDIR; their rate is of the images after each
worker's first shard, so that start-up, which any count shares, is left out. The table has medians; its ratios are
medians of the ratios within a round. --memory instead prints the peak resident memory of exports of 8x8 images as
idx, by count.
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
from pathlib import Path

from benchmarks.servers import describe_machine
from models import store
from models.manifest import read_manifest

MODELS = ("digits", "faces")
RUNTIMES = ("onnx", "torchscript")
FORMATS = ("imagefolder", "webdataset")
SHARDS_OF_WORKER = 6


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5, help="of each measurement, about")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--workers", type=int, default=1, help="of an export, and loops of a ceiling")
    parser.add_argument("--memory", type=int, nargs="*", metavar="COUNT", help="peak memory instead")
    arguments = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = folder
        if arguments.memory is not None:
            _measure_memory(Path(folder), arguments.memory or [10_000, 1_000_000])
            return
        for name in arguments.models:
            path = store.BUNDLED / name
            store.install(path)
            command = [sys.executable, "-m", "benchmarks.ceiling", str(path), "--device", "cpu", "--runtime", "onnx"]
            batch_size = int(_read_rows([_start([*command, "--find-batch-size"])])[0]["batch_size"])
            rounds = []
            for number in range(arguments.rounds):
                # Every other round goes the other way, so that none always comes first.
                runtimes = RUNTIMES[:: -1 if number % 2 else 1]
                rounds.append(_measure_round(path, runtimes, batch_size, arguments.workers, arguments.seconds))
            _print_table(name, rounds, arguments.workers, batch_size)


def _measure_round(
    path: Path, runtimes: tuple[str, ...], batch_size: int, workers: int, seconds: float
) -> dict[str, float]:
    """Return images/s by row."""
    rows = {}
    for runtime in runtimes:
        options = ["--batch-size", str(batch_size)] if runtime == "onnx" else []
        rows[f"ceiling, {runtime}"] = _measure_ceiling(path, runtime, workers, seconds, options)
    for format_ in FORMATS:
        for runtime in runtimes:
            # Whole shards, about as many as the time allows.
            size = max(64, round(rows[f"ceiling, {runtime}"] / workers * seconds / (SHARDS_OF_WORKER - 1)))
            rows[f"{format_}, {runtime}"] = _measure_export(read_manifest(path).name, runtime, format_, workers, size)
    return {**rows, "simple script, torchscript": _measure_script(path, seconds)}


def _print_table(name: str, rounds: list[dict[str, float]], workers: int, batch_size: int) -> None:
    print(f"\n{name}, {workers} worker(s), {len(rounds)} rounds; batches of the ONNX ceiling {batch_size}\n")
    print("| | images/s | of TorchScript ceiling | of ONNX ceiling | least and most of TorchScript ceiling |")
    print("| --- | ---: | ---: | ---: | ---: |")
    keys = [*(f"{kind}, {runtime}" for kind in ("ceiling", *FORMATS) for runtime in RUNTIMES)]
    for key in (*keys, "simple script, torchscript"):
        rate = statistics.median(round_[key] for round_ in rounds)
        of_torchscript = [round_[key] / round_["ceiling, torchscript"] for round_ in rounds]
        of_onnx = statistics.median(round_[key] / round_["ceiling, onnx"] for round_ in rounds)
        print(
            f"| {key} | {rate:.0f} | {statistics.median(of_torchscript):.2f} | {of_onnx:.2f} "
            f"| {min(of_torchscript):.2f} to {max(of_torchscript):.2f} |",
            flush=True,
        )


def _measure_ceiling(path: Path, runtime: str, processes: int, seconds: float, options: list[str]) -> float:
    command = [sys.executable, "-m", "benchmarks.ceiling", str(path), "--device", "cpu", "--runtime", runtime]
    running = [_start([*command, "--seconds", str(seconds), *options]) for _ in range(processes)]
    return sum(row["per_s"] for row in _read_rows(running))


def _measure_script(path: Path, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as out:
        script = [sys.executable, "-m", "benchmarks.peers.simple_export", str(path), out, "--seconds", str(seconds)]
        process = subprocess.run(script, check=True, capture_output=True, text=True, timeout=120)
    return float(process.stdout)


def _measure_export(name: str, runtime: str, format_: str, workers: int, size: int) -> float:
    """Return images/s from the moment when every worker works to the last commit."""
    with tempfile.TemporaryDirectory() as out:
        shards = SHARDS_OF_WORKER * workers
        command = [sys.executable, "-m", "ganmint", "export", name, "--count", str(size * shards), "--seed", "1"]
        command += ["--labels", "balanced", "--shard-size", str(size), "--workers", str(workers), "--device", "cpu"]
        command += ["--format", format_, "--out", out]
        environment = {**os.environ, "GANMINT_RUNTIME": runtime}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300, env=environment)
        times = sorted(p.stat().st_mtime for p in (Path(out) / ".ganmint" / "shards").iterdir())
    # The first shard of each worker brings start-up and warming.
    return (shards - workers) * size / (times[-1] - times[workers - 1])


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _read_rows(processes: list[subprocess.Popen[str]]) -> list[dict[str, float]]:
    return [json.loads(process.communicate(timeout=120)[0]) for process in processes]


def _measure_memory(folder: Path, counts: list[int]) -> None:
    from benchmarks.models import SMALLEST, export

    store.install(export("smallest", SMALLEST, folder, batch_size=64))
    for count in counts:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "ganmint", "export", "smallest", "--count", str(count), "--device", "cpu"]
            started_at = time.monotonic()
            process = subprocess.Popen([*command, "--format", "idx", "--out", out], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit("the export failed")
            print(
                f"{count:8} images: {usage.ru_maxrss / 1024:.0f} MiB, {time.monotonic() - started_at:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
