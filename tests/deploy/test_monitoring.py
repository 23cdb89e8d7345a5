"""Alerts, their runbook, and the queries of alerts, dashboard and autoscaler."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from service.metrics import Metrics
from service.process_metrics import ServiceProcessCollector
from tests.waiting import TIMEOUT_S

pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")

from deploy.chart import (
    CHART,
    DEPLOY,
    find_one,
    list_alerts,
    list_queries,
    read_dashboard,
    read_rule_groups,
    render,
)
from deploy.check_monitoring import make_unconditional

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus")
# Prometheus adds this series for every scrape.
PROMETHEUS_SERIES = {"up"}
# kube-state-metrics has these, by its documentation of Pods, HorizontalPodAutoscalers and Jobs.
CLUSTER_SERIES = {
    "kube_pod_container_status_restarts_total": {"namespace", "pod", "container"},
    "kube_horizontalpodautoscaler_status_current_replicas": {"namespace", "horizontalpodautoscaler"},
    "kube_job_failed": {"namespace", "job_name", "condition"},
}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(read_rule_groups()))
    shutil.copy(Path(__file__).parent / "alerts.yaml", tmp_path)
    return tmp_path


def promtool(folder: Path, *arguments: str) -> str:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_accepts_the_rules(rules: Path) -> None:
    assert f"SUCCESS: {len(list_alerts())} rules found" in promtool(rules, "check", "rules", "rules.yaml")


@needs_promtool
def test_each_alert_fires_on_its_series_only(rules: Path) -> None:
    promtool(rules, "test", "rules", "alerts.yaml")


def test_each_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())["tests"]
    alert_tests = [alert_test for case in tests for alert_test in case["alert_rule_test"]]
    for alert in (rule["alert"] for rule in list_alerts()):
        assert {bool(t.get("exp_alerts")) for t in alert_tests if t["alertname"] == alert} == {True, False}, alert


def test_alerts_and_runbook_sections_match() -> None:
    titles = re.findall(r"^## (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE)
    urls = [rule["annotations"]["runbook_url"] for rule in list_alerts()]
    assert urls == [f"deploy/RUNBOOK.md#{title.lower()}" for title in titles]
    assert [rule["alert"] for rule in list_alerts()] == titles
    text = (DEPLOY / "RUNBOOK.md").read_text()
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {title.lower() for title in titles}


def test_the_runbook_url_can_be_set() -> None:
    values = {"monitoring": {"enabled": True, "runbookUrl": "https://wiki.example/ganmint"}}
    (group,) = find_one(render(values), "PrometheusRule")["spec"]["groups"]
    assert all(r["annotations"]["runbook_url"].startswith("https://wiki.example/ganmint#") for r in group["rules"])


def test_the_check_asks_each_alert_for_a_number_also_where_it_does_not_fire() -> None:
    for rule in list_alerts():
        assert not re.search(r"(?:[=!<>]=|[<>])\s+(?!bool\b)", make_unconditional(rule["expr"])), rule["alert"]


@pytest.mark.parametrize(("where", "query"), list_queries().items(), ids=list_queries())
def test_every_query_uses_series_and_labels_of_the_service(where: str, query: str) -> None:
    metrics = Metrics()
    names = {
        name: set(kind._labelnames) | {"namespace", "job", "instance", "le"}
        for kind in vars(metrics).values()
        if hasattr(kind, "_labelnames")
        for name in metrics.registry._get_names(kind)  # type: ignore[no-untyped-call]
    }
    names |= CLUSTER_SERIES
    process_names = {f"{m.name}_total" if m.type == "counter" else m.name for m in ServiceProcessCollector().collect()}
    names |= {name: {"namespace", "job", "instance"} for name in process_names}
    for name, labels in re.findall(r"\b((?:ganmint|process|kube)_\w+|up)\{(.*?)\}", query):
        assert name in names or name in PROMETHEUS_SERIES, (where, name)
        query_labels = set(re.findall(r"(\w+)=", labels))
        assert query_labels <= names.get(name, {"namespace", "job"}), (where, name)
    assert set(re.findall(r"\bganmint_\w+", query)) <= set(names), where


def test_every_query_is_limited_to_its_release() -> None:
    for where, query in list_queries().items():
        for labels in re.findall(r"\b(?:(?:ganmint|process)_\w+|up)(\{[^}]*\})", query):
            assert "namespace=" in labels and ("job=" in labels or where == "job"), where
        for labels in re.findall(r"\bkube_\w+(\{.*?\})", query):
            assert 'namespace="images"' in labels and "ganmint" in labels, where


def test_dashboard_panels_have_texts_and_do_not_overlap() -> None:
    content, taken = read_dashboard(), set()
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    for panel in content["panels"]:
        assert panel["title"] and panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24 and (x, y) not in taken, panel["title"]
                taken.add((x, y))
    assert json.loads((CHART / "files" / "dashboard.json").read_text()) == content
