"""The published schemas of Kubernetes documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.chart import Document

RAYJOB_SCHEMA = Path(__file__).parent / "rayjob.schema.json"


def check_schema(document: Document, version: str) -> None:
    """Check a document against the published schema of its kind; a field that the schema lacks is an error.

    kubernetes-validate has the schemas of Kubernetes' own kinds. The cloudcoil packages have models of the custom
    resource definitions of KEDA and the Prometheus operator, and hera those of Argo Workflows.
    """
    if document["kind"] == "RayJob":
        _check_rayjob(document, version)
    elif model := _find_model(document):
        # The models ignore unknown fields, so the document is compared with what they have read.
        parsed = model.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
        assert json.loads(json.dumps(parsed)) == document, "the document has fields that the schema does not have"
    else:
        import kubernetes_validate

        kubernetes_validate.validate(document, version, strict=True)


def _find_model(document: Document) -> Any:
    """Return the Pydantic model of a custom resource, None for Kubernetes' own kinds."""
    match document["apiVersion"].partition("/")[0]:
        case "keda.sh":
            from cloudcoil.models.keda import v1alpha1 as models
        case "monitoring.coreos.com":
            from cloudcoil.models.prometheus_operator import v1 as models
        case "argoproj.io":
            from hera.workflows.models.io.argoproj.workflow import v1alpha1 as models
        case _:
            return None
    return getattr(models, document["kind"])


def _check_rayjob(document: Document, version: str) -> None:
    import jsonschema

    jsonschema.validate(document, json.loads(RAYJOB_SCHEMA.read_text()))
    for template in iterate_ray_templates(document):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
        check_schema(pod, version)


def iterate_ray_templates(rayjob: Document) -> Iterator[Document]:
    """Yield the pod templates of a RayJob: the head's, then each group's."""
    cluster = rayjob["spec"]["rayClusterSpec"]
    yield cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield group["template"]
