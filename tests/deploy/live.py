"""A real service under load, scraped by a real Prometheus: every query that the chart ships must find something.

Run: python -m tests.deploy.live (make monitoring). Needs prometheus, of Debian's package of that name. Exits with 1
where a query of the dashboard, an alert or the autoscaler comes back empty, or Prometheus finds fault with a rule.
"""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from models import store
from tests.deploy.test_monitoring import queries, rule_groups
from tests.live.conftest import Server, free_port, running

LOAD_S = 30.0
QUEUE_IMAGES = 1024
# What Grafana and the chart fill in.
FILLED_IN = {"$__rate_interval": "15s", "$namespace": "images", "$job": "ganmint"}


@contextlib.contextmanager
def service(folder: Path) -> Iterator[Server]:
    """The bundled models, behind a queue that is soon full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        for bundled in store.list_bundled():
            store.install(bundled)
    with running(folder / "home", folder / "log", GANMINT_QUEUE_IMAGES=str(QUEUE_IMAGES)) as server:
        yield server


@contextlib.contextmanager
def prometheus(folder: Path, server: Server) -> Iterator[httpx.Client]:
    """Scrapes the service each second and holds the chart's rules; its HTTP interface."""
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("prometheus is missing: apt-get install prometheus")
    target = {"targets": [server.url.removeprefix("http://")], "labels": {"namespace": "images"}}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "ganmint", "static_configs": [target]}],
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_groups()))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    places = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *places, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(client: httpx.Client) -> None:
    for _ in range(300):
        with contextlib.suppress(httpx.TransportError):
            if client.get("/-/ready").status_code == 200:
                return
        time.sleep(0.1)
    sys.exit("prometheus is not ready after 30 s")


def load(server: Server, seconds: float) -> dict[int, int]:
    """Requests of every fate, as many as come back; how many had which status."""
    kinds: list[dict[str, Any]] = [
        {"json": {"model": "digits", "n": 1}, "headers": {"Accept": "image/png"}},
        {"json": {"model": "digits", "n": 16}},
        {"json": {"model": "digits", "n": 0}},
        {"json": {"model": "nobody"}},
        {"json": {"model": "digits", "n": 64}, "headers": {"Ganmint-Timeout-S": "0.001"}},
        # Together more than the queue holds.
        {"json": {"model": "digits", "n": QUEUE_IMAGES}, "headers": {"Accept": "application/x-npz"}},
    ]
    version = httpx.get(f"{server.url}/v1/models/digits").raise_for_status().json()["version"]
    until, counts = time.monotonic() + seconds, dict[int, int]()

    def caller(number: int) -> list[int]:
        found = []
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while time.monotonic() < until:
                found.append(client.post("/generate", **kinds[number % len(kinds)]).status_code)
                found.append(client.get(f"/v1/images/digits/{version}/7/{number}.png").status_code)
        return found

    with ThreadPoolExecutor(2 * len(kinds)) as pool:
        for found in pool.map(caller, range(2 * len(kinds))):
            for status in found:
                counts[status] = counts.get(status, 0) + 1
    return counts


def filled_in(query: str) -> str:
    for name, value in FILLED_IN.items():
        query = query.replace(name, value)
    return query


def always(alert: str) -> str:
    """An alert's expression that answers 0 rather than nothing where it does not fire."""
    return re.sub(r"(==|>)(?=\s)", r"\1 bool", alert)


def values(client: httpx.Client, query: str) -> list[float]:
    """What Prometheus answers now, one number a series; of label_values(), one a value."""
    if of_label := re.fullmatch(r"label_values\((.*), (\w+)\)", query):
        answer = client.get(f"/api/v1/label/{of_label[2]}/values", params={"match[]": of_label[1]})
        return [1.0 for _ in answer.raise_for_status().json()["data"]]
    answer = client.get("/api/v1/query", params={"query": query})
    if answer.status_code != 200:
        sys.exit(f"{query}: {answer.json()['error']}")
    return [float(series["value"][1]) for series in answer.json()["data"]["result"]]


def main() -> None:
    """Print what each query found, and exit with 1 if one found nothing."""
    names = {rule["alert"] for group in rule_groups()["groups"] for rule in group["rules"]}
    with tempfile.TemporaryDirectory(prefix="ganmint-live-") as name:
        folder = Path(name)
        with service(folder) as server, prometheus(folder, server) as client:
            counts = load(server, LOAD_S)
            print(f"{sum(counts.values())} requests in {LOAD_S:g} s: {dict(sorted(counts.items()))}")
            empty = []
            for where, query in queries().items():
                query = filled_in(query)
                found = [v for v in values(client, always(query) if where in names else query) if not math.isnan(v)]
                print(f"{where:28} {len(found):3} series, largest {max(found, default=math.nan):.6g}")
                if not found:
                    empty.append(where)
            groups = client.get("/api/v1/rules").json()["data"]["groups"]
    unwell = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]
    if empty or unwell or not groups:
        sys.exit(f"without an answer: {', '.join(empty) or 'none'}; unwell rules: {', '.join(unwell) or 'none'}")
    print(f"{len(queries())} queries, every one with an answer; {len(names)} rules healthy")


if __name__ == "__main__":
    main()
