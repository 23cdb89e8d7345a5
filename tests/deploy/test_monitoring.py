"""Alerts that fire when they should and only then, a runbook for each, and queries of series that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from tests.deploy.chart import CHART, DEPLOY, one, render

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus")
WATCHED = {"monitoring": {"enabled": True}}
# What Prometheus makes itself of every scrape.
PROMETHEUS_OWN = {"up"}


def rule_groups() -> dict[str, Any]:
    """What the operator hands to Prometheus: the content of a rule file."""
    groups: dict[str, Any] = one(render(WATCHED), "PrometheusRule")["spec"]
    return groups


def alerts() -> list[dict[str, Any]]:
    return [rule for group in rule_groups()["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(one(render(WATCHED), "ConfigMap")["data"]["ganmint.json"])
    return content


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule_groups()))
    shutil.copy(Path(__file__).parent / "alerts.yaml", tmp_path)
    return tmp_path


def promtool(folder: Path, *arguments: str) -> str:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_takes_the_rules(rules: Path) -> None:
    assert f"SUCCESS: {len(alerts())} rules found" in promtool(rules, "check", "rules", "rules.yaml")


@needs_promtool
def test_each_alert_fires_on_its_series_and_is_silent_on_others(rules: Path) -> None:
    promtool(rules, "test", "rules", "alerts.yaml")


def test_each_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())["tests"]
    asked = [question for case in tests for question in case["alert_rule_test"]]
    for alert in (rule["alert"] for rule in alerts()):
        assert {bool(q.get("exp_alerts")) for q in asked if q["alertname"] == alert} == {True, False}, alert


def test_each_alert_has_a_section_in_the_runbook_and_each_section_an_alert() -> None:
    titles = re.findall(r"^## (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE)
    urls = [rule["annotations"]["runbook_url"] for rule in alerts()]
    assert urls == [f"deploy/RUNBOOK.md#{title.lower()}" for title in titles]
    assert [rule["alert"] for rule in alerts()] == titles
    text = (DEPLOY / "RUNBOOK.md").read_text()
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {title.lower() for title in titles}


def test_the_runbooks_address_is_the_operators() -> None:
    values = {"monitoring": {"enabled": True, "runbookUrl": "https://wiki.example/ganmint"}}
    (group,) = one(render(values), "PrometheusRule")["spec"]["groups"]
    assert all(r["annotations"]["runbook_url"].startswith("https://wiki.example/ganmint#") for r in group["rules"])


def queries() -> dict[str, str]:
    """Every PromQL expression that the chart ships, by where it stands."""
    found = {rule["alert"]: rule["expr"] for rule in alerts()}
    for panel in dashboard()["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    found |= {v["name"]: v["query"]["query"] for v in dashboard()["templating"]["list"] if v["type"] == "query"}
    scaler = one(render({"autoscaling": {"mode": "keda"}}), "ScaledObject")
    return found | {"KEDA": scaler["spec"]["triggers"][0]["metadata"]["query"]}


@pytest.mark.parametrize(("where", "query"), queries().items(), ids=queries())
def test_every_query_is_of_series_and_labels_that_the_service_has(where: str, query: str) -> None:
    metrics = Metrics()
    names = {
        name: set(kind._labelnames) | {"namespace", "job", "instance", "le"}
        for kind in vars(metrics).values()
        if hasattr(kind, "_labelnames")
        for name in metrics.registry._get_names(kind)  # type: ignore[no-untyped-call]
    }
    for name, labels in re.findall(r"\b(ganmint_\w+|up)\{([^}]*)\}", query):
        assert name in names or name in PROMETHEUS_OWN, (where, name)
        asked = set(re.findall(r"(\w+)=", labels))
        assert asked <= names.get(name, {"namespace", "job"}), (where, name)
    assert set(re.findall(r"\bganmint_\w+", query)) <= set(names), where


def test_every_query_is_bounded_to_its_release() -> None:
    for where, query in queries().items():
        for labels in re.findall(r"\b(?:ganmint_\w+|up)(\{[^}]*\})", query):
            assert "namespace=" in labels and ("job=" in labels or where == "job"), where


def test_the_dashboards_panels_have_a_unit_and_words_and_do_not_overlap() -> None:
    content, taken = dashboard(), set()
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
