"""How real servers start, drain, die and add up."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.conftest import Server, running


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(what: Callable[[], bool], timeout_s: float = 30) -> float:
    """Seconds until it is so."""
    started = time.monotonic()
    while time.monotonic() - started < timeout_s:
        with contextlib.suppress(httpx.TransportError):
            if what():
                return time.monotonic() - started
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


def test_after_sigterm_it_is_not_ready_but_serves_on_for_a_pause_then_exits_0(home: Path, tmp_path: Path) -> None:
    with running(home, tmp_path / "log", GANMINT_DRAIN_PAUSE_S="2") as server:
        kept = httpx.Client(base_url=server.url)
        assert "connection" not in kept.post("/generate", json={"model": "tiny"}).headers
        server.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(server.url + "/readyz").status_code == 503)
        # So that its next request takes a new connection, which a load balancer sends elsewhere.
        last = kept.post("/generate", json={"model": "tiny"})
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        kept.close()
        assert httpx.get(server.url + "/livez").status_code == 200
        assert server.process.wait(20) == 0


def test_a_worker_does_not_outlive_a_killed_arbiter(home: Path, tmp_path: Path) -> None:
    with running(home, tmp_path / "log") as server:
        workers = children(server.process.pid)
        assert workers
        server.process.kill()
        server.process.wait(10)
        until(lambda: not any(map(alive, workers)))


def test_a_killed_worker_is_replaced(home: Path, tmp_path: Path) -> None:
    with running(home, tmp_path / "log") as server:
        (worker,) = children(server.process.pid)
        os.kill(worker, signal.SIGKILL)
        until(lambda: children(server.process.pid) not in ([], [worker]), 60)
        until(lambda: httpx.get(server.url + "/readyz", timeout=1).status_code == 200, 60)
        assert httpx.post(server.url + "/generate", json={"model": "tiny"}).status_code == 200


def counted(server: Server, series: str) -> float:
    text = httpx.get(server.url + "/metrics").text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_two_workers_add_up_to_exactly_what_was_asked(home: Path, tmp_path: Path) -> None:
    with running(home, tmp_path / "log", GANMINT_WORKERS="2") as server:
        # Each worker says it for itself; /readyz and the metric below may speak of one alone.
        until(lambda: server.log.read_text().count("Ready on") == 2, 60)
        until(lambda: counted(server, 'ganmint_model_golden_ok{model="tiny",version="1.0.0"}') == 1)

        def ask(k: int) -> int:
            # A connection each, so that both workers get some.
            return httpx.post(
                server.url + "/generate", json={"model": "tiny", "seed": k, "n": 3}, timeout=30
            ).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(60))) == {200}
        requests = 'ganmint_requests_total{code="200",method="POST",route="/generate"}'
        assert counted(server, requests) == 60
        assert counted(server, 'ganmint_images_total{model="tiny",version="1.0.0"}') == 180
        assert counted(server, 'ganmint_queue_images{model="tiny",version="1.0.0"}') == 0
        assert counted(server, 'ganmint_request_duration_seconds_count{route="/generate"}') == 60


def test_prometheus_understands_the_metrics_of_a_service_in_use(digits_server: Server) -> None:
    for body in ({"model": "digits", "n": 3}, {"model": "digits", "n": 0}):
        httpx.post(digits_server.url + "/generate", json=body, timeout=30)
    text = httpx.get(digits_server.url + "/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families) >= 10
    assert all(name.startswith("ganmint_") and family.documentation for name, family in families.items())
    assert families["ganmint_requests"].samples
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("the rest needs promtool, of Debian's package prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
