"""Server processes to measure, and what they take.

Knows: starting and stopping them, their processor time and memory (Linux, /proc). Does not know: what
is asked of them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.start import free_port, is_ready

TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def ganmint(**settings: str) -> Iterator[tuple[int, list[int]]]:
    """`ganmint serve` on the store of BENTOML_HOME, ready: its port and its processes' ids."""
    port = free_port()
    with process([sys.executable, "-m", "ganmint", "serve", "--port", str(port)], settings) as pid:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield port, family(pid)


@contextlib.contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """A silent process, ended by SIGTERM."""
    started = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(60)


def wait_until_ready(url: str, timeout_s: float = 120) -> None:
    """Until the URL answers 200; ends the program when it does not."""
    ends = time.monotonic() + timeout_s
    while not is_ready(url):
        if time.monotonic() > ends:
            sys.exit(f"{url} does not answer 200")
        time.sleep(0.1)


def family(pid: int) -> list[int]:
    """The process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def cpu_s(pids: list[int]) -> float:
    """Processor time so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(f[11]) + int(f[12]) for f in fields) / TICKS


def rss_mib(pid: int) -> float:
    """Resident memory now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def raise_file_limit() -> None:
    """As many open connections as this user may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
