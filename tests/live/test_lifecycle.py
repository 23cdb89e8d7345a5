"""Start, drain, crash and metrics of real servers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.auth import create_key
from tests.live.metrics import read_metric
from tests.live.server import Server, list_workers, run_server, start_server
from tests.waiting import TIMEOUT_S, wait_until


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


def test_after_sigterm_it_drains_for_the_pause_then_exits_0(home: Path, tmp_path: Path) -> None:
    with run_server(home, tmp_path / "log", GANMINT_DRAIN_PAUSE_S="5") as server:
        with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as client:
            assert "connection" not in client.post("/generate", json={"model": "tiny"}).headers
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.has_status("/readyz", 503), "it is not ready")
            # Its next request then takes a new connection, which a load balancer sends to another server.
            last = client.post("/generate", json={"model": "tiny"})
        assert (last.status_code, last.headers["connection"]) == (200, "close")
        assert server.get("/livez").status_code == 200
        assert server.process.wait(TIMEOUT_S) == 0


def test_a_killed_worker_is_replaced_and_none_outlives_a_killed_arbiter(home: Path, tmp_path: Path) -> None:
    with run_server(home, tmp_path / "log") as server:
        (worker,) = list_workers(server)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: list_workers(server) not in ([], [worker]), "another worker has started")
        wait_until(lambda: server.has_status("/readyz", 200), "it is ready again")
        assert server.post_generate({"model": "tiny"}).status_code == 200
        workers = list_workers(server)
        assert workers
        server.process.kill()
        server.process.wait(TIMEOUT_S)
        wait_until(lambda: not any(map(is_alive, workers)), "the workers have ended")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_worker_that_cannot_start_ends_serve_with_its_reason(workers: str, home: Path, tmp_path: Path) -> None:
    # The command looks for what it knows to fail; this fails in the workers only.
    package = tmp_path / "package"
    package.mkdir()
    (package / "sitecustomize.py").write_text("import sys; sys.modules['service.responses'] = None\n")
    python_path = f"{package}:{Path(__file__).parents[2]}"
    with start_server(home, tmp_path / "log", GANMINT_WORKERS=workers, PYTHONPATH=python_path) as server:
        assert server.process.wait(TIMEOUT_S) == 1
    assert "Error: the service cannot start: " in server.log.read_text()
    assert not server.has_status("/livez", 200)


def test_relative_paths_mean_the_folder_that_serve_is_run_in(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, record = create_key("laboratory")
    (tmp_path / "keys.json").write_text(f"[{record.model_dump_json()}]")
    monkeypatch.chdir(tmp_path)
    with run_server(Path(home.name), tmp_path / "log", GANMINT_API_KEYS_FILE="keys.json") as server:
        headers = {"Authorization": f"Bearer {secret}"}
        assert server.post_generate({"model": "tiny"}, headers).status_code == 200
        assert server.post_generate({"model": "tiny"}).status_code == 401


def test_the_metrics_of_two_workers_add_up(home: Path, tmp_path: Path) -> None:
    with run_server(home, tmp_path / "log", GANMINT_WORKERS="2") as server:
        # Each worker logs this; /readyz and the metric below may come from only one of them.
        wait_until(lambda: server.log.read_text().count("Ready on") == 2, "both workers are ready")
        golden = 'ganmint_model_golden_ok{model="tiny",version="1.0.0"}'
        wait_until(lambda: read_metric(server, golden) == 1, "the model has passed its checks")

        def send_request(seed: int) -> int:
            # A connection each, so that both workers get some.
            return server.post_generate({"model": "tiny", "seed": seed, "n": 3}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(send_request, range(60))) == {200}
        requests = 'ganmint_requests_total{code="200",method="POST",route="/generate"}'
        assert read_metric(server, requests) == 60
        assert read_metric(server, 'ganmint_images_total{model="tiny",version="1.0.0"}') == 180
        assert read_metric(server, 'ganmint_queue_images{model="tiny",version="1.0.0"}') == 0
        assert read_metric(server, 'ganmint_request_duration_seconds_count{route="/generate"}') == 60
        assert read_metric(server, "ganmint_ready") == 1
        # Of the whole service, whichever worker answers: each of the three has files of its own.
        processes = [psutil.Process(pid) for pid in (server.process.pid, *list_workers(server))]
        assert len(processes) == 3
        assert read_metric(server, "process_open_fds") > sum(process.num_fds() for process in processes[:2])
        assert read_metric(server, "process_resident_memory_bytes") > processes[1].memory_info().rss * 1.5
        cpu_s = [read_metric(server, "process_cpu_seconds_total") for _ in range(8)]
        assert cpu_s == sorted(cpu_s)
        os.kill(processes[2].pid, signal.SIGKILL)
        wait_until(lambda: not set(list_workers(server)) <= {p.pid for p in processes}, "another worker has started")
        assert read_metric(server, "process_cpu_seconds_total") >= cpu_s[-1]


def test_prometheus_accepts_the_metrics_of_a_used_service(digits_server: Server) -> None:
    for body in ({"model": "digits", "n": 3}, {"model": "digits", "n": 0}):
        digits_server.post_generate(body)
    text = digits_server.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families) >= 10
    assert all(name.startswith(("ganmint_", "process_")) and family.documentation for name, family in families.items())
    assert families["ganmint_requests"].samples
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("the rest needs promtool, of Debian's package prometheus")
    command = [promtool, "check", "metrics"]
    process = subprocess.run(command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert (process.returncode, process.stdout + process.stderr) == (0, "")
