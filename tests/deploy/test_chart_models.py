"""Where the chart's pods have their models from, and that these pass the checks that the values ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import signing, store, transfer
from tests.conftest import Command
from tests.signing_keys import make_key_pair

pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")

from deploy.chart import EXPORT, Document, Values, find_one, iterate_pods, read_environment, render

SOURCES: Values = {"sources": ["s3://bucket/models"], "sourcesSecret": "s3", "pullSeconds": 60}


def find_mounts(container: Document) -> dict[str, tuple[str, str, bool]]:
    """Return the name, subPath and whether it is read-only of each mount, by its path."""
    return {
        mount["mountPath"]: (mount["name"], mount.get("subPath", ""), mount.get("readOnly", False))
        for mount in container["volumeMounts"]
    }


def test_models_are_pulled_before_the_service_and_beside_it() -> None:
    pod = find_one(render({"models": SOURCES}), "Deployment")["spec"]["template"]["spec"]
    first, again = pod["initContainers"]
    assert first["args"] == ["ganmint", "models", "pull", "s3://bucket/models"] and "restartPolicy" not in first
    assert again["args"] == [*first["args"], "--every=60"] and again["restartPolicy"] == "Always"
    mounts = find_mounts(pod["containers"][0])
    for container in (first, again):
        assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
        # A model is renamed into its place: no other mount may begin between.
        assert find_mounts(container)["/store"] == ("scratch", "store", False)
        assert "/store/models" not in find_mounts(container)
    # The service has neither the credentials nor the right to write models.
    assert "envFrom" not in pod["containers"][0]
    assert mounts["/store/models"] == ("scratch", "store/models", True)
    (once,) = find_one(render({"models": {**SOURCES, "pullSeconds": 0}}), "Deployment")["spec"]["template"]["spec"][
        "initContainers"
    ]
    assert once == first


def test_an_export_pulls_its_model_once_and_the_finish_none() -> None:
    jobs = iterate_pods(render({"models": SOURCES, "export": EXPORT, "serving": {"enabled": False}}))
    export, finish = jobs
    assert [container["name"] for container in export["initContainers"]] == ["pull"]
    assert "initContainers" not in finish


@pytest.mark.parametrize(
    ("models", "volume", "mount"),
    [
        ({"claim": "c"}, {"persistentVolumeClaim": {"claimName": "c", "readOnly": True}}, ("store", "models", True)),
        ({"image": "r/m:1"}, {"image": {"reference": "r/m:1", "pullPolicy": "IfNotPresent"}}, ("store", "", True)),
    ],
)
def test_a_volume_has_the_store(models: Values, volume: Document, mount: tuple[str, str, bool]) -> None:
    (pod,) = iterate_pods(render({"models": models}))
    assert {"name": "store", **volume} in pod["volumes"] and "initContainers" not in pod
    mounts = find_mounts(pod["containers"][0])
    assert (mounts["/store"], mounts["/store/models"]) == (("scratch", "store", False), mount)
    assert read_environment(pod)["BENTOML_HOME"] == "/store"


def test_only_the_sources_may_be_reached() -> None:
    dns = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    https = {"ports": [{"port": 443, "protocol": "TCP"}]}
    values = {"models": SOURCES, "export": {**EXPORT, "claim": "sets", "out": "/data/digits"}}
    policies = [document for document in render(values) if document["kind"] == "NetworkPolicy"]
    assert [policy["spec"]["egress"] for policy in policies] == [[dns, https]] * 2
    without = [document for document in render({**values, "models": {}}) if document["kind"] == "NetworkPolicy"]
    assert [policy["spec"]["egress"] for policy in without] == [[], []]


def test_what_is_pulled_in_the_pod_must_be_signed(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """Runs the container's own arguments under its own variables."""
    private_key, public_key = make_key_pair(tmp_path / "keys")
    stored = store.install(tiny_artifact)
    url = f"file://{tmp_path}/shared"
    transfer.push(stored, url)
    values = {"models": {"sources": [url], "publicKey": public_key.read_text()}}
    (pod,) = iterate_pods(render(values))
    (container,) = pod["initContainers"]
    paths = {"/store": str(tmp_path / "pod"), "/etc/ganmint-signer/key.pub": str(public_key)}
    assert "/etc/ganmint-signer" in find_mounts(container)
    for variable in container["env"]:
        if variable["name"] != "HOME":
            monkeypatch.setenv(variable["name"], paths.get(variable["value"], variable["value"]))

    refused = command(*container["args"][1:])
    assert refused.code == 1 and "is not signed" in refused.errors and store.list_names() == []
    signing.sign(stored.path, private_key)
    transfer.push(stored, url)
    assert command(*container["args"][1:]).code == 0
    assert store.find_model("tiny").path == tmp_path / "pod" / "models" / "tiny" / "1.0.0"
