"""Measures the service at three times its capacity, its recovery, and its fairness beside bulk requests.

Run: make bench-overload. Capacity is what a closed loop of 64 connections gets that request single PNG images. Then an
open loop sends three times as many, independent of the responses. An accepted request waits at most for the queue
(GANMINT_QUEUE_IMAGES / capacity); the others must be refused at once. Then the closed loop again, right after the last
response. Then fairness: 8 connections with n = 1, alone and beside 4 connections with n = 256; also in units of one
forward of a full batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.models import FACES_SIZED, export
from benchmarks.servers import describe_machine, run_service
from models import store
from models.manifest import read_manifest

OVERLOAD_FACTOR = 3


def main() -> None:
    """Print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload; the rest takes a sixth each")
    parser.add_argument("--n", type=int, default=1, help="images a request in the overload; more than 1: as npz")
    parser.add_argument("--queue-images", type=int, default=4096, help="as GANMINT_QUEUE_IMAGES")
    parser.add_argument("--model", choices=["digits", "faces-sized"], default="digits")
    arguments = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = folder
        digits = arguments.model == "digits"
        path = store.BUNDLED / "digits" if digits else export("faces-sized", FACES_SIZED, Path(folder))
        store.install(path)
        short = max(1.0, arguments.seconds / 6)
        forward = _read_json(_start("ceiling", str(path), "--seconds", str(short)))
        with run_service(GANMINT_QUEUE_IMAGES=str(arguments.queue_images)) as (port, _):
            load = Load(port, read_manifest(path).name)
            _overload(load, arguments.n, arguments.queue_images, arguments.seconds, short)
            _fairness(load, short, forward)


class Load:
    """Runs benchmarks.load on one server and model."""

    def __init__(self, port: int, model: str) -> None:
        self._port = port
        self._model = model

    def start(self, connections: int, seconds: float, n: int = 1, rate: float = 0.0) -> subprocess.Popen[str]:
        """Start it in a process of its own."""
        body = f'{{"model": "{self._model}", "seed": 1, "index": INDEX, "n": {n}}}'
        accept = "image/png" if n == 1 else "application/x-npz"
        options = {"port": self._port, "connections": connections, "seconds": seconds, "rate": rate}
        texts = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return _start("load", *texts, "--body", body, "--accept", accept)

    def run(self, connections: int, seconds: float, n: int = 1, rate: float = 0.0) -> dict[str, Any]:
        """Run it and return its metrics."""
        return _read_json(self.start(connections, seconds, n, rate))


def _overload(load: Load, n: int, queue_images: int, seconds: float, short: float) -> None:
    load.run(64, 1.0, n)
    before = load.run(64, short, n)
    capacity = before["per_s"]
    print(f"capacity: {capacity * n:.0f} images/s by n = {n}, ", end="")
    print(f"p50 {before['p50_ms']:.0f} ms, p99 {before['p99_ms']:.0f} ms")
    over = load.run(64, seconds, n, OVERLOAD_FACTOR * capacity)
    after = load.run(64, short, n)
    # elapsed_s lasts to the last response: the queue's rest is minted after the load ends.
    goodput = over["codes"].get("200", 0) / over["elapsed_s"]
    print(f"{OVERLOAD_FACTOR} times that for {seconds:g} s: {over['codes']} (0: connection lost, -1: never sent)")
    print(f"  goodput {goodput * n:.0f} images/s, {goodput / capacity:.2f} of capacity")
    bound_s = queue_images / capacity / n
    for code, name in (("200", f"accepted (bound by the queue: {bound_s:.1f} s)"), ("429", "refused")):
        if code in over["by_code"]:
            row = over["by_code"][code]
            print(f"  {name}: p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms")
    after_s = sorted(int(text) for text in over["retry_after"] if text.isdigit())
    without = over["codes"].get("429", 0) - sum(over["retry_after"][str(text)] for text in after_s)
    print(f"  Retry-After from {min(after_s, default=0)} to {max(after_s, default=0)} s, without one: {without}")
    print(f"right after: {after['per_s'] * n:.0f} images/s, {after['per_s'] / capacity:.2f} of capacity, ", end="")
    print(f"p99 {after['p99_ms']:.0f} ms, other answers than 200: {after['requests'] - after['codes'].get('200', 0)}")


def _fairness(load: Load, seconds: float, forward: dict[str, Any]) -> None:
    batch_ms = forward["batch_ms"]
    print(f"one forward of a full batch ({forward['batch_size']:g}): {batch_ms:.1f} ms")
    alone = load.run(8, seconds)
    bulk = load.start(4, seconds + 2, 256)
    beside = load.run(8, seconds)
    images_per_s = _read_json(bulk)["per_s"] * 256
    for name, row in (("n = 1 alone", alone), ("n = 1 beside n = 256", beside)):
        p50, p99 = row["p50_ms"], row["p99_ms"]
        print(f"{name}: p50 {p50:.1f} ms ({p50 / batch_ms:.1f} forwards), p99 {p99:.1f} ms ({p99 / batch_ms:.1f})")
    print(f"beside it the four callers of n = 256 got {images_per_s:.0f} images/s")


def _start(module: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", f"benchmarks.{module}", *options], stdout=subprocess.PIPE, text=True)


def _read_json(process: subprocess.Popen[str]) -> dict[str, Any]:
    text, _ = process.communicate(timeout=600)
    result: dict[str, Any] = json.loads(text)
    return result


if __name__ == "__main__":
    main()
