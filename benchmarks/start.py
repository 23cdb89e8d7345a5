"""Measures how long the service takes to be ready, and its memory.

Run: make bench-start. Each round starts a fresh `ganmint serve` with the bundled models, waits for /readyz, requests
images, reads the peak resident memory (VmHWM) of BentoML's arbiter and of the worker, and stops it. The reference, in
the same rounds, is a bare Python that imports torch and FastAPI, which any PyTorch service has to. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.servers import find_free_port, get_cpu_name, is_ready

REFERENCE = "import torch, fastapi; print(open('/proc/self/status').read())"


def main() -> None:
    """Print the medians and their ratio to the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2048, help="requested before memory is read")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["BENTOML_HOME"] = home
        subprocess.run([sys.executable, "-m", "ganmint", "models", "install"], check=True, stdout=subprocess.DEVNULL)
        rounds = [(_measure_import(), _measure_service(arguments.images)) for _ in range(arguments.rounds)]
    reference_s, reference_mib = (statistics.median(r[k] for r, _ in rounds) for k in (0, 1))
    ready_s, worker_mib, arbiter_mib = (statistics.median(s[k] for _, s in rounds) for k in (0, 1, 2))
    print(
        f"{get_cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians of {len(rounds)} rounds"
    )
    print(f"{'':34}{'seconds':>8}{'ratio':>7}{'MiB':>7}{'ratio':>7}")
    print(f"{'import torch, fastapi (reference)':34}{reference_s:8.2f}{1:7.2f}{reference_mib:7.0f}{1:7.2f}")
    ratio_s = ready_s / reference_s
    ratio_mib = worker_mib / reference_mib
    print(f"{'service: start to ready; worker':34}{ready_s:8.2f}{ratio_s:7.2f}{worker_mib:7.0f}{ratio_mib:7.2f}")
    print(f"{'BentoML arbiter':34}{'':15}{arbiter_mib:7.0f}{arbiter_mib / reference_mib:7.2f}")


def _measure_import() -> tuple[float, float]:
    """Return seconds and MiB of the reference."""
    started_at = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", REFERENCE], check=True, capture_output=True, text=True)
    return time.perf_counter() - started_at, _parse_peak_mib(process.stdout)


def _measure_service(images: int) -> tuple[float, float, float]:
    """Return seconds to ready, MiB of the worker, MiB of the arbiter."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    started_at = time.perf_counter()
    command = [sys.executable, "-m", "ganmint", "serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(url + "/readyz"):
            if server.poll() is not None:
                sys.exit("the service ended before it was ready")
            time.sleep(0.02)
        ready_s = time.perf_counter() - started_at
        name = json.loads(urllib.request.urlopen(url + "/v1/models").read())["models"][0]["name"]
        for index in range(0, images, 256):
            body = json.dumps({"model": name, "seed": 0, "index": index, "n": 256}).encode()
            urllib.request.urlopen(url + "/generate", body).read()
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        worker = max(_parse_peak_mib(Path(f"/proc/{child}/status").read_text()) for child in children)
        return ready_s, worker, _parse_peak_mib(Path(f"/proc/{server.pid}/status").read_text())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _parse_peak_mib(status: str) -> float:
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
