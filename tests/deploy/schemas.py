"""The published schemas of Kubernetes documents."""

from __future__ import annotations

import json

from deploy.chart import Document


def check_schema(document: Document, version: str) -> None:
    """Check a document against the published schema of its kind; a field that the schema lacks is an error.

    kubernetes-validate has the schemas of Kubernetes' own kinds. The cloudcoil packages have models of the custom
    resource definitions of KEDA and the Prometheus operator. These models ignore unknown fields, so the document is
    compared with what they have read.
    """
    if document["apiVersion"].partition("/")[0] not in ("keda.sh", "monitoring.coreos.com"):
        import kubernetes_validate

        kubernetes_validate.validate(document, version, strict=True)
        return
    from cloudcoil.models.keda import v1alpha1
    from cloudcoil.models.prometheus_operator import v1

    model = getattr(v1alpha1 if document["apiVersion"] == "keda.sh/v1alpha1" else v1, document["kind"])
    parsed = model.model_validate(document).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert json.loads(json.dumps(parsed)) == document, "the document has fields that the schema does not have"
