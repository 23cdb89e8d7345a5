"""Starts and stops server processes and reads their processor time and memory (Linux, /proc)."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def run_service(**settings: str) -> Iterator[tuple[int, list[int]]]:
    """Run `ganmint serve` on the store of BENTOML_HOME; yields its port and process ids once it is ready."""
    port = find_free_port()
    with run_process([sys.executable, "-m", "ganmint", "serve", "--port", str(port)], settings) as pid:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield port, list_process_tree(pid)


@contextlib.contextmanager
def run_process(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """Run a process without output; yields its id and ends it by SIGTERM."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_until_ready(url: str, timeout_s: float = 120) -> None:
    """Wait until the URL responds with 200; exit if it never does."""
    deadline = time.monotonic() + timeout_s
    while not is_ready(url):
        if time.monotonic() > deadline:
            sys.exit(f"{url} does not respond with 200")
        time.sleep(0.02)


def list_process_tree(pid: int) -> list[int]:
    """Return the id of a process and of all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in list_process_tree(int(child)))]


def read_cpu_s(pids: list[int]) -> float:
    """Return the processor time that processes have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(f[11]) + int(f[12]) for f in fields) / TICKS


def read_rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def raise_file_limit() -> None:
    """Raise the limit of open files to this user's maximum."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def find_free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_ready(url: str) -> bool:
    """Return whether the URL responds with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def describe_machine() -> str:
    """Return processor, cores and versions, for the head of a report."""
    versions = (f"{name} {version(name)}" for name in ("onnxruntime", "torch"))
    return ", ".join([get_cpu_name(), f"{os.cpu_count()} cores", f"Python {platform.python_version()}", *versions])


def get_cpu_name() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
