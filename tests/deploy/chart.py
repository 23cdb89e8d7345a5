"""The chart, rendered by Helm's own engine without a cluster, and the schemas that its documents must keep."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

helm = pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
CHART = DEPLOY / "helm" / "ganmint"
Document = dict[str, Any]
Values = dict[str, Any]

KEY = {"name": "lab", "sha256": "0" * 64, "requests_per_minute": 60}
OUTSIDE = {"enabled": True, "host": "images.example", "className": "nginx", "tlsSecret": "tls"}
EXPORT = {"enabled": True, "model": "digits", "count": 100_000_000, "out": "s3://bucket/digits"}
MATRIX: dict[str, Values] = {
    "gpu" * gpu + f" {mode}" + " ingress" * ingress + " monitoring" * monitoring: {
        "gpu": {"enabled": gpu},
        "autoscaling": {"mode": mode},
        "ingress": OUTSIDE if ingress else {},
        "apiKeys": {"records": [KEY]} if ingress else {},
        "monitoring": {"enabled": monitoring},
    }
    for gpu, mode, ingress, monitoring in product((False, True), ("off", "hpa", "keda"), (False, True), (False, True))
} | {
    "defaults": {},
    "export": {"export": EXPORT, "serving": {"enabled": False}},
    "export gpu claim": {
        "gpu": {"enabled": True, "runtimeClassName": "nvidia", "nodeSelector": {"gpu": "yes"}},
        "export": {**EXPORT, "out": "/data/digits", "claim": "sets", "credentialsSecret": "s3", "labels": "balanced"},
    },
    "everything else": {
        "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
        "models": {"claim": "store", "publicKey": "-----BEGIN PUBLIC KEY-----\nM\n-----END PUBLIC KEY-----\n"},
        "apiKeys": {"existingSecret": "keys"},
        "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "egress": [{"ports": [{"port": 4318}]}]},
        "serviceAccount": {"annotations": {"role": "writer"}},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "extraEnv": [{"name": "GANMINT_TRACING", "value": "1"}],
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "disruption": {"maxUnavailable": "25%"},
    },
}


@functools.cache
def _chart() -> Any:
    return helm.Chart.load(CHART)


def templates(values: Values | None = None, name: str = "ganmint", namespace: str = "images") -> dict[str, str]:
    """Each template's text, by file name. Raises helm_python.HelmError where Helm would refuse the values."""
    rendered = _chart().render(copy.deepcopy(values or {}), name=name, namespace=namespace)
    return {path.rpartition("/")[2]: text for path, text in rendered.items()}


def render(values: Values | None = None, name: str = "ganmint", namespace: str = "images") -> list[Document]:
    """Every document that Helm would send to the cluster."""
    texts = templates(values, name, namespace)
    texts.pop("NOTES.txt")
    return [document for text in texts.values() for document in yaml.safe_load_all(text) if document]


def one(documents: list[Document], kind: str) -> Document:
    """The only document of a kind."""
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def pods(documents: list[Document]) -> Iterator[Document]:
    """The pod spec of each workload."""
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            yield document["spec"]["template"]["spec"]


def validate(document: Document, version: str) -> None:
    """Raise unless the document keeps the published schema of its kind, with no field beyond it.

    Kubernetes' own kinds: kubernetes-validate, strictly. KEDA's and the Prometheus operator's: the models that the
    cloudcoil packages make of the projects' custom resource definitions. They pass over what they do not know, so
    what they read must be all that there was.
    """
    if document["apiVersion"].partition("/")[0] not in ("keda.sh", "monitoring.coreos.com"):
        import kubernetes_validate

        kubernetes_validate.validate(document, version, strict=True)
        return
    from cloudcoil.models.keda import v1alpha1
    from cloudcoil.models.prometheus_operator import v1

    model = getattr(v1alpha1 if document["apiVersion"] == "keda.sh/v1alpha1" else v1, document["kind"])
    read = model.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert json.loads(json.dumps(read)) == document, "fields that the schema does not have"
