"""Real `ganmint serve` processes on loopback, with models in a store of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from models import store


@dataclass
class Server:
    """A running service: its address, its store and its process."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """SIGTERM, then the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def ganmint(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line on the server's store."""
        command = [sys.executable, "-m", "ganmint", *arguments]
        return subprocess.run(command, env=environment(self.home), capture_output=True, text=True, timeout=120)


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GANMINT_", "PYTHONWARNINGS"))}
    return {**kept, "BENTOML_HOME": str(home)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(home: Path, log: Path, port: int | None = None, **settings: str) -> Iterator[Server]:
    """A server that is ready; killed at the end if it still runs."""
    port = port or free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ganmint", "serve", "--port", str(port)],
            env={**environment(home), **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, so that a failed test takes arbiter and worker along.
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", home, process, log)
    try:
        wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(server: Server, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(server.url + "/readyz").status_code == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"the server is not ready:\n{server.log.read_text()}")


@pytest.fixture
def home(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A store with the tiny model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path / "home"))
        store.install(tiny_artifact)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def digits_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the bundled models, for all tests that do not disturb it."""
    folder = tmp_path_factory.mktemp("digits-server")
    home = folder / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        for bundled in store.list_bundled():
            store.install(bundled)
    with running(home, folder / "log") as server:
        yield server
