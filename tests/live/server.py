"""Real `ganmint serve` processes on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from models import store
from tests.waiting import TIMEOUT_S, wait_until

# Reading the certificates for each new client takes more processor time than the request.
NO_TLS = False


@dataclass
class Server:
    """A running service.

    Attributes:
        url: its address.
        home: its model store.
        process: BentoML's arbiter, the parent of the workers.
        log: its standard output and standard error.
    """

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, timeout_s: float = TIMEOUT_S) -> httpx.Response:
        """GET a path, on a new connection."""
        return httpx.get(self.url + path, timeout=timeout_s, verify=NO_TLS)

    def post_generate(self, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
        """POST /generate with JSON, on a new connection."""
        return httpx.post(self.url + "/generate", json=body, headers=headers, timeout=TIMEOUT_S, verify=NO_TLS)

    def has_status(self, path: str, status: int) -> bool:
        """Return whether a path responds with this status; False without a response."""
        with contextlib.suppress(httpx.TransportError):
            return self.get(path, timeout_s=10).status_code == status
        return False

    def stop(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_S)

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ganmint` on the server's store."""
        return run_ganmint(self.home, *arguments)


def run_ganmint(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `ganmint` on a store, with these environment variables."""
    command = [sys.executable, "-m", "ganmint", *arguments]
    environment = {**make_environment(home), **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)


def make_environment(home: Path) -> dict[str, str]:
    """Copy this process's environment, without its settings of the service and with another store."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GANMINT_", "PYTHONWARNINGS"))}
    return {**inherited, "BENTOML_HOME": str(home)}


def find_free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def install(home: Path, *folders: Path) -> None:
    """Put artifact folders into a store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        for folder in folders:
            store.install(folder)


@contextlib.contextmanager
def start_server(home: Path, log: Path, port: int | None = None, **settings: str) -> Iterator[Server]:
    """Start a server that need not become ready; kill it at the end if it still runs.

    A test of how it ends stops it by itself.
    """
    port = port or find_free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ganmint", "serve", "--port", str(port)],
            env={**make_environment(home), **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            # A process group, to end the arbiter; the workers, in sessions of their own, end with it.
            start_new_session=True,
        )
    try:
        yield Server(f"http://127.0.0.1:{port}", home, process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def run_server(home: Path, log: Path, port: int | None = None, **settings: str) -> Iterator[Server]:
    """Start a server and wait until it is ready; kill it at the end if it still runs."""
    with start_server(home, log, port, **settings) as server:
        wait_until_ready(server)
        yield server


def list_workers(server: Server) -> list[int]:
    """Return the process ids of a server's workers."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_ready(server: Server) -> None:
    """Wait until /readyz is 200; fail the test, with the server's log, if the server ends or never is."""

    def is_ready_or_ended() -> bool:
        return server.process.poll() is not None or server.has_status("/readyz", 200)

    wait_until(is_ready_or_ended, "the server is ready")
    if server.process.poll() is not None:
        pytest.fail(f"the server ended:\n{server.log.read_text()}")
