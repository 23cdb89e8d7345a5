"""Checks every query that the chart ships: a real Prometheus scrapes a real service under load.

Run: make monitoring (python -m deploy.check_monitoring). Needs prometheus, of Debian's package of that name. Exits
with 1 if a query of the dashboard, an alert or the autoscaler finds no series, or if Prometheus reports a faulty rule.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.servers import find_free_port, run_service
from deploy.chart import list_alerts, list_queries, read_rule_groups
from models import store

LOAD_S = 30.0
QUEUE_IMAGES = 1024
BROKEN_VERSION = "0.0.1"
# What Grafana and the chart substitute.
VARIABLES = {"$__rate_interval": "15s", "$namespace": "images", "$job": "ganmint"}


@contextlib.contextmanager
def serve_bundled(folder: Path) -> Iterator[str]:
    """Serve the bundled models with a short queue, and an older version that is broken; yields the service's URL."""
    os.environ["BENTOML_HOME"] = str(folder / "home")
    for bundled in store.list_bundled():
        stored = store.install(bundled)
        if stored.name == "digits":
            # Its manifest says another version than its folder.
            shutil.copytree(stored.path, stored.path.with_name(BROKEN_VERSION))
    with run_service(GANMINT_QUEUE_IMAGES=str(QUEUE_IMAGES)) as (port, _):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def run_prometheus(folder: Path, url: str) -> Iterator[httpx.Client]:
    """Run Prometheus with the chart's rules, scraping the service each second; yields a client of it."""
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("prometheus is missing: apt-get install prometheus")
    target = {"targets": [url.removeprefix("http://")], "labels": {"namespace": "images"}}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "ganmint", "static_configs": [target]}],
    }
    (folder / "rules.yaml").write_text(yaml.safe_dump(read_rule_groups()))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = find_free_port()
    paths = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([program, *paths, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
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


def send_load(url: str, seconds: float) -> Counter[int]:
    """Send requests of every outcome in a closed loop; returns the number of responses by status."""
    kinds: list[dict[str, Any]] = [
        {"json": {"model": "digits", "n": 1}, "headers": {"Accept": "image/png"}},
        {"json": {"model": "digits", "n": 16}},
        {"json": {"model": "digits", "n": 0}},
        {"json": {"model": "nobody"}},
        {"json": {"model": "digits", "version": BROKEN_VERSION}},
        {"json": {"model": "digits", "n": 64}, "headers": {"Ganmint-Timeout-S": "0.001"}},
        # Several of these overflow the queue.
        {"json": {"model": "digits", "n": QUEUE_IMAGES}, "headers": {"Accept": "application/x-npz"}},
    ]
    version = httpx.get(f"{url}/v1/models/digits").raise_for_status().json()["version"]
    deadline = time.monotonic() + seconds

    def run_client(number: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        with httpx.Client(base_url=url, timeout=60) as client:
            while time.monotonic() < deadline:
                statuses[client.post("/generate", **kinds[number % len(kinds)]).status_code] += 1
                statuses[client.get(f"/v1/images/digits/{version}/7/{number}.png").status_code] += 1
        return statuses

    total: Counter[int] = Counter()
    with ThreadPoolExecutor(2 * len(kinds)) as pool:
        for statuses in pool.map(run_client, range(2 * len(kinds))):
            total += statuses
    return total


def substitute_variables(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def make_unconditional(alert: str) -> str:
    """Change an alert's expression to give 0, rather than no series, where it does not fire."""
    return re.sub(r"(==|>=|>)(?=\s)", r"\1 bool", alert)


def run_query(client: httpx.Client, query: str) -> list[float]:
    """Query Prometheus; returns a number for each series, or 1 for each value of a label_values() query."""
    match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    if match:
        response = client.get(f"/api/v1/label/{match[2]}/values", params={"match[]": match[1]})
        return [1.0 for _ in response.raise_for_status().json()["data"]]
    response = client.get("/api/v1/query", params={"query": query})
    if response.status_code != 200:
        sys.exit(f"{query}: {response.json()['error']}")
    return [float(series["value"][1]) for series in response.json()["data"]["result"]]


def main() -> None:
    """Print the result of each query; exit with 1 if one found no series."""
    alerts = {rule["alert"] for rule in list_alerts()}
    queries = list_queries()
    with tempfile.TemporaryDirectory(prefix="ganmint-monitoring-") as name:
        folder = Path(name)
        with serve_bundled(folder) as url, run_prometheus(folder, url) as client:
            statuses = send_load(url, LOAD_S)
            print(f"{sum(statuses.values())} requests in {LOAD_S:g} s: {dict(sorted(statuses.items()))}")
            empty = []
            for title, query in queries.items():
                query = substitute_variables(query)
                if title in alerts:
                    query = make_unconditional(query)
                if "kube_" in query:
                    # kube-state-metrics has these, and needs a cluster.
                    run_query(client, query)
                    continue
                values = [value for value in run_query(client, query) if not math.isnan(value)]
                print(f"{title:28} {len(values):3} series, largest {max(values, default=math.nan):.6g}")
                if not values:
                    empty.append(title)
            groups = client.get("/api/v1/rules").json()["data"]["groups"]
    faulty = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]
    if empty or faulty or not groups:
        sys.exit(f"without series: {', '.join(empty) or 'none'}; faulty rules: {', '.join(faulty) or 'none'}")
    print(f"{len(queries)} queries, each with series; {len(alerts)} rules healthy")


if __name__ == "__main__":
    main()
