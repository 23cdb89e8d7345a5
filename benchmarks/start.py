"""How long the service takes to be ready, and how much memory it takes.

Run: make bench-start. Each round starts a fresh `ganmint serve` with the bundled models, waits for
/readyz, asks for images, reads the peak resident memory (VmHWM) of BentoML's arbiter and of the
worker, and stops it. The reference, in the same rounds, is a bare Python that imports torch and FastAPI:
what any PyTorch service pays before its own first line. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

REFERENCE = "import torch, fastapi; print(open('/proc/self/status').read())"


def main() -> None:
    """Print the medians and their ratio to the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2048, help="asked for before memory is read")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["BENTOML_HOME"] = home
        subprocess.run([sys.executable, "-m", "ganmint", "models", "install"], check=True, stdout=subprocess.DEVNULL)
        rounds = [(_reference(), _service(arguments.images)) for _ in range(arguments.rounds)]
    reference_s, reference_mib = (statistics.median(r[k] for r, _ in rounds) for k in (0, 1))
    ready_s, worker_mib, arbiter_mib = (statistics.median(s[k] for _, s in rounds) for k in (0, 1, 2))
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians of {len(rounds)} rounds")
    print(f"{'':34}{'seconds':>8}{'ratio':>7}{'MiB':>7}{'ratio':>7}")
    print(f"{'import torch, fastapi (reference)':34}{reference_s:8.2f}{1:7.2f}{reference_mib:7.0f}{1:7.2f}")
    ratio_s, ratio_mib = ready_s / reference_s, worker_mib / reference_mib
    print(f"{'service: start to ready; worker':34}{ready_s:8.2f}{ratio_s:7.2f}{worker_mib:7.0f}{ratio_mib:7.2f}")
    print(f"{'BentoML arbiter':34}{'':15}{arbiter_mib:7.0f}{arbiter_mib / reference_mib:7.2f}")


def _reference() -> tuple[float, float]:
    started = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", REFERENCE], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, _peak_mib(run.stdout)


def _service(images: int) -> tuple[float, float, float]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    command = [sys.executable, "-m", "ganmint", "serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(url + "/readyz"):
            if server.poll() is not None:
                sys.exit("the service ended before it was ready")
            time.sleep(0.02)
        ready_s = time.perf_counter() - started
        name = json.loads(urllib.request.urlopen(url + "/v1/models").read())["models"][0]["name"]
        for index in range(0, images, 256):
            body = json.dumps({"model": name, "seed": 0, "index": index, "n": 256}).encode()
            urllib.request.urlopen(url + "/generate", body).read()
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        worker = max(_peak_mib(Path(f"/proc/{child}/status").read_text()) for child in children)
        return ready_s, worker, _peak_mib(Path(f"/proc/{server.pid}/status").read_text())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_ready(url: str) -> bool:
    """Whether the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _peak_mib(status: str) -> float:
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
