"""Renders the Helm chart by Helm's own engine, without a cluster, for tests and checks."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

DEPLOY = Path(__file__).parent
CHART = DEPLOY / "helm" / "ganmint"
Document = dict[str, Any]
Values = dict[str, Any]

KEY = {"name": "alice", "sha256": "0" * 64, "requests_per_minute": 60}
ROUTE = {"enabled": True, "host": "images.example", "parentRefs": [{"name": "public", "namespace": "gateways"}]}
INGRESS = {"enabled": True, "host": "images.example", "className": "nginx", "tlsSecret": "tls"}
EXPORT = {"enabled": True, "model": "digits/4.2.0", "count": 100_000_000, "out": "s3://bucket/digits"}
MONITORING = {"monitoring": {"enabled": True}, "export": EXPORT}
# Values that together cover every template and branch, by name.
MATRIX: dict[str, Values] = {
    "gpu" * gpu + f" {mode}" + " ingress" * ingress + " monitoring" * monitoring: {
        "gpu": {"enabled": gpu},
        "autoscaling": {"mode": mode},
        "ingress": INGRESS if ingress else {},
        "apiKeys": {"records": [KEY]} if ingress else {},
        "monitoring": {"enabled": monitoring},
    }
    for gpu, mode, ingress, monitoring in product((False, True), ("off", "hpa", "keda"), (False, True), (False, True))
} | {
    "defaults": {},
    "cache": {"cache": {"enabled": True}, "ingress": INGRESS, "apiKeys": {"open": True}, "gpu": {"enabled": True}},
    "gateway ipv6": {
        "cache": {"enabled": True},
        "httpRoute": {**ROUTE, "annotations": {"a": "b"}},
        "apiKeys": {"open": True},
        "service": {"ipFamilyPolicy": "PreferDualStack"},
    },
    "sources": {
        "models": {
            "sources": ["s3://bucket/models", "s3://bucket/digits-4.2.0.bentomodel"],
            "sourcesSecret": "s3",
            "pullSeconds": 60,
            "publicKey": "-----BEGIN PUBLIC KEY-----",
        },
        "export": {**EXPORT, "claim": "sets", "out": "/data/digits"},
    },
    "export": {"export": EXPORT, "serving": {"enabled": False}},
    "export gpu claim": {
        "gpu": {"enabled": True, "runtimeClassName": "nvidia", "nodeSelector": {"gpu": "yes"}},
        "export": {
            **EXPORT,
            "out": "/data/digits",
            "claim": "sets",
            "credentialsSecret": "s3",
            "labels": "balanced",
            "queue": "batch",
        },
    },
    "everything else": {
        "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
        "models": {"claim": "store", "publicKey": "-----BEGIN PUBLIC KEY-----\nM\n-----END PUBLIC KEY-----\n"},
        "apiKeys": {"existingSecret": "keys"},
        "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "egress": [{"ports": [{"port": 4318}]}]},
        "serviceAccount": {"annotations": {"role": "writer"}},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "extraEnv": [{"name": "GANMINT_TRACING", "value": "1"}],
        "extraArgs": ["--backlog=4096"],
        "extraVolumes": [{"name": "certificates", "secret": {"secretName": "certificates"}}],
        "extraVolumeMounts": [{"name": "certificates", "mountPath": "/etc/certificates", "readOnly": True}],
        "extraInitContainers": [{"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}],
        "labels": {"team": "images"},
        "annotations": {"reloader.stakater.com/auto": "true"},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "disruption": {"maxUnavailable": "25%"},
    },
}


# From Kubernetes 1.33.
IMAGE_VOLUME: Values = {"models": {"image": "registry.example/digits:4.2.0"}}


@functools.cache
def _load_chart() -> Any:
    return helm.Chart.load(CHART)


def render_templates(values: Values | None = None, name: str = "ganmint", namespace: str = "images") -> dict[str, str]:
    """Render each template; returns the texts by file name.

    Raises:
        helm_python.HelmError: when Helm refuses the values.
    """
    rendered = _load_chart().render(copy.deepcopy(values or {}), name=name, namespace=namespace)
    return {path.rpartition("/")[2]: text for path, text in rendered.items()}


def render(values: Values | None = None, name: str = "ganmint", namespace: str = "images") -> list[Document]:
    """Render every document that Helm would send to the cluster."""
    texts = render_templates(values, name, namespace)
    texts.pop("NOTES.txt")
    return [document for text in texts.values() for document in yaml.safe_load_all(text) if document]


def find_one(documents: list[Document], kind: str) -> Document:
    """Return the only document of a kind."""
    (match,) = [document for document in documents if document["kind"] == kind]
    return match


def iterate_pods(documents: list[Document]) -> Iterator[Document]:
    """Yield the pod spec of each workload."""
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            yield document["spec"]["template"]["spec"]


def read_environment(pod: Document) -> dict[str, str]:
    """Return the variables of a pod's first container whose values the chart writes."""
    return {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"] if "value" in variable}


def read_rule_groups() -> dict[str, Any]:
    """Return the content of the alerts' rule files, as the Prometheus operator passes them to Prometheus."""
    rules = [document for document in render(MONITORING) if document["kind"] == "PrometheusRule"]
    return {"groups": [group for document in rules for group in document["spec"]["groups"]]}


def list_alerts() -> list[dict[str, Any]]:
    """Return every alert's rule."""
    return [rule for group in read_rule_groups()["groups"] for rule in group["rules"]]


def read_dashboard() -> dict[str, Any]:
    """Return the dashboard as the chart ships it."""
    content: dict[str, Any] = json.loads(find_one(render(MONITORING), "ConfigMap")["data"]["ganmint.json"])
    return content


def list_queries() -> dict[str, str]:
    """Return every PromQL expression that the chart ships, by the name of its alert, panel or variable."""
    dashboard = read_dashboard()
    queries = {rule["alert"]: rule["expr"] for rule in list_alerts()}
    for panel in dashboard["panels"]:
        queries |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            queries[variable["name"]] = variable["query"]["query"]
    scaler = find_one(render({"autoscaling": {"mode": "keda"}}), "ScaledObject")
    queries["KEDA"] = scaler["spec"]["triggers"][0]["metadata"]["query"]
    return queries
