"""The chart's documents, and what they mean for the service."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

import pytest
import yaml

from service.app import ROUTERS
from service.auth import parse_keys
from service.settings import Settings

helm = pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")

from deploy.chart import (  # noqa: E402
    CHART,
    DEPLOY,
    EXPORT,
    IMAGE_VOLUME,
    INGRESS,
    KEY,
    MATRIX,
    ROUTE,
    Values,
    find_one,
    iterate_pods,
    read_environment,
    render,
    render_templates,
)
from tests.deploy.schemas import check_schema  # noqa: E402

LOWEST = "1.30"
PATHS = {getattr(route, "path", "") for router in ROUTERS for route in router.routes}


@pytest.fixture
def kubernetes_validate() -> Any:
    """Import the schemas' packages, which takes seconds, only where a document is checked."""
    pytest.importorskip("cloudcoil.models.keda")
    return pytest.importorskip("kubernetes_validate")


def test_helm_lint_has_no_warnings() -> None:
    report = helm.lint(CHART, strict=True)
    # Severity 1 is a hint: it has no icon.
    assert [message for message in report["messages"] if message["severity"] > 1] == []
    assert report["errors"] == []


@pytest.mark.parametrize("version", [LOWEST, "newest"])
def test_every_document_matches_its_published_schema(version: str, kubernetes_validate: Any) -> None:
    if version == "newest":
        version = kubernetes_validate.latest_version()
    combinations = [*MATRIX.values(), *([] if version == LOWEST else [IMAGE_VOLUME])]
    documents = {json.dumps(document, sort_keys=True): document for v in combinations for document in render(v)}
    assert {document["kind"] for document in documents.values()} == {
        "ConfigMap",
        "Deployment",
        "HTTPRoute",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PrometheusRule",
        "ScaledObject",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }
    for document in documents.values():
        # Its own test has all of it.
        if document["kind"] != "HTTPRoute":
            check_schema(document, version)
    assert f">={LOWEST}.0-0" == yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]


@pytest.mark.parametrize(
    ("kind", "where"),
    [("Deployment", ("spec", "replica")), ("ScaledObject", ("spec", "cooldown")), ("ServiceMonitor", ("spec", "port"))],
)
def test_a_field_that_the_schema_lacks_is_an_error(kind: str, where: tuple[str, str], kubernetes_validate: Any) -> None:
    document = find_one(render(MATRIX[" keda monitoring"]), kind)
    document[where[0]][where[1]] = 1
    with pytest.raises((kubernetes_validate.ValidationError, AssertionError), match=r"unexpected|does not have"):
        check_schema(document, LOWEST)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 3}, "'replica' not allowed"),
        ({"settings": {"maxN": "many"}}, "/settings/maxN"),
        ({"settings": {"max_n": 1}}, "'max_n' not allowed"),
        ({"autoscaling": {"mode": "cpu"}}, "/autoscaling/mode"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
        ({"resources": {"limits": {"memory": "1 GB"}}}, "/resources/limits/memory"),
        ({"apiKeys": {"records": [{"name": "alice", "sha256": "secret"}]}}, "/apiKeys/records/0/sha256"),
        ({"ingress": {"paths": [{"path": "metrics", "pathType": "Exact"}]}}, "/ingress/paths/0/path"),
        ({"export": {"format": "jpg"}}, "/export/format"),
        ({"export": {"seed": 2**53}}, "/export/seed"),
        ({"monitoring": {"objectives": {"errorRatio": 5}}}, "/monitoring/objectives/errorRatio"),
        (
            {"settings": {"runtime": "onnx"}, "gpu": {"enabled": True}},
            "settings.runtime onnx runs on the CPU only; set it to auto, or gpu.enabled to false",
        ),
        ({"settings": {"maxN": 9999}}, "settings.queueImages (4096) must be at least settings.maxN (9999)"),
        ({"autoscaling": {"minReplicas": 9}}, "autoscaling.maxReplicas (8) must be at least"),
        ({"strategy": {"maxSurge": 0}}, "strategy.maxSurge and strategy.maxUnavailable"),
        ({"ingress": {"enabled": True}, "apiKeys": {"open": True}}, "ingress.host"),
        ({"ingress": INGRESS}, "ingress.enabled without API keys"),
        ({"apiKeys": {"records": [KEY], "existingSecret": "x"}}, "apiKeys.records and apiKeys.existingSecret"),
        (
            {"cache": {"enabled": True}, "apiKeys": {"records": [KEY]}},
            "cache.enabled has nothing to keep: with API keys images are private",
        ),
        ({"service": {"type": "LoadBalancer"}}, "service.type LoadBalancer without API keys"),
        ({"service": {"ipFamilyPolicy": "IPv6"}}, "/service/ipFamilyPolicy"),
        ({"httpRoute": {"enabled": True}, "apiKeys": {"open": True}}, "httpRoute.host and httpRoute.parentRefs"),
        ({"httpRoute": {"parentRefs": [{"gateway": "public"}]}}, "/httpRoute/parentRefs/0"),
        ({"httpRoute": ROUTE}, "httpRoute.enabled without API keys"),
        (
            {"httpRoute": ROUTE, "ingress": {"paths": [{"path": "/", "pathType": "ImplementationSpecific"}]}},
            "ingress.paths: / is ImplementationSpecific",
        ),
        ({"models": {"sources": ["models/digits"]}}, "/models/sources/0"),
        ({"models": {"sourcesSecret": "My Secret"}}, "/models/sourcesSecret"),
        ({"models": {"pullSeconds": 1.5}}, "/models/pullSeconds"),
        ({"models": {"pullSeconds": 60}}, "models.pullSeconds looks at models.sources, of which there are none"),
        ({"models": {"pullResources": {"limits": {"cpu": "one"}}}}, "/models/pullResources/limits/cpu"),
        ({"models": {"egress": ["443"]}}, "/models/egress/0"),
        ({"models": {"image": "digits 3"}}, "/models/image"),
        (
            {"models": {"image": "digits:3", "claim": "store"}},
            "models.claim, models.image and models.sources: give one",
        ),
        ({"labels": {"team": 7}}, "/labels/team"),
        ({"annotations": {"team": 7}}, "/annotations/team"),
        ({"extraArgs": [8]}, "/extraArgs/0"),
        ({"extraVolumes": [{"emptyDir": {}}]}, "/extraVolumes/0"),
        ({"extraVolumeMounts": [{"name": "certificates"}]}, "/extraVolumeMounts/0"),
        ({"extraInitContainers": [{"name": "proxy"}]}, "/extraInitContainers/0"),
        ({"export": {"enabled": True}}, "export.model"),
        ({"export": {**EXPORT, "model": "digits"}}, "export.model must name a version, such as digits/1.0.0"),
        ({"export": {**EXPORT, "count": 0}}, "export.count"),
        ({"export": {**EXPORT, "queue": "My Queue"}}, "/export/queue"),
        ({"export": {**EXPORT, "finishResources": {"limits": {"cpu": "one"}}}}, "/export/finishResources/limits/cpu"),
        ({"export": {**EXPORT, "out": "digits"}}, "export.out"),
        ({"export": {**EXPORT, "claim": "sets"}}, "export.out must begin with /data/"),
        ({"export": {**EXPORT, "groups": 2}}, "export.parallelism (4) must be at most export.groups (2)"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(values: Values, named: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(named)):
        render(values)


def test_the_values_schema_is_complete_and_closed() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(values: Any, rule: dict[str, Any], path: str) -> None:
        if "$ref" in rule:
            rule = schema["$defs"][rule["$ref"].rpartition("/")[2]]
        if not isinstance(values, dict) or "properties" not in rule:
            return
        assert rule["additionalProperties"] is False, path
        assert path or set(rule["properties"]) - {"global"} == set(values)
        assert not path or path.endswith(("resources",)) or set(rule["properties"]) == set(values), path
        for name, value in values.items():
            walk(value, rule["properties"][name], f"{path}/{name}")

    walk(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)
def test_pods_have_the_least_privileges(values: Values) -> None:
    for pod in iterate_pods(render(values)):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        own = [c for c in pod.get("initContainers", []) if c["image"] == pod["containers"][0]["image"]]
        for container in (*pod["containers"], *own):
            inside = container["securityContext"]
            assert inside["readOnlyRootFilesystem"] is True and inside["allowPrivilegeEscalation"] is False
            assert inside["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            writable = {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")}
            # The bulk export's target is the other one.
            assert [name for name in writable if "emptyDir" in volumes[name]] == ["scratch"]
            assert writable <= {"scratch", "data"}


def test_the_probes_use_routes_of_the_service() -> None:
    (pod,) = iterate_pods(render())
    (container,) = pod["containers"]
    assert {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")} == {
        "startup": "/livez",
        # A restart repairs no model, so liveness must not depend on one.
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    (port,) = container["ports"]
    assert container["args"][:5] == ["serve", "--host", "0.0.0.0", "--port", str(port["containerPort"])]
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in ("startup", "liveness", "readiness")} == {"http"}
    monitor = find_one(render({"monitoring": {"enabled": True}}), "ServiceMonitor")
    assert {"/livez", "/readyz", monitor["spec"]["endpoints"][0]["path"]} <= PATHS


@pytest.mark.parametrize(
    ("timeout_s", "pause_s", "drain_s"), [(30, 5, 10), (2.5, 1, 0), (300, 60, 120)], ids=["default", "short", "long"]
)
def test_a_pod_has_time_to_complete_accepted_requests(timeout_s: float, pause_s: int, drain_s: int) -> None:
    values = {
        "settings": {"timeoutSeconds": timeout_s},
        "shutdown": {"preStopSeconds": pause_s, "drainPauseSeconds": drain_s},
    }
    (pod,) = iterate_pods(render(values))
    (container,) = pod["containers"]
    finish_s = int(container["args"][-1])
    assert container["args"][-2] == "--timeout-graceful-shutdown" and finish_s >= math.ceil(timeout_s)
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": pause_s}}
    assert read_environment(pod)["GANMINT_DRAIN_PAUSE_S"] == str(drain_s)
    assert pod["terminationGracePeriodSeconds"] > pause_s + drain_s + finish_s


def read_chart_settings(values: Values, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read the service's settings from the chart's variables."""
    for name in [name for name in os.environ if name.startswith("GANMINT_")]:
        monkeypatch.delenv(name)
    (pod,) = iterate_pods(render(values))
    for name, value in read_environment(pod).items():
        if name.startswith("GANMINT_"):
            assert name.removeprefix("GANMINT_").lower() in Settings.model_fields, name
            monkeypatch.setenv(name, value)
    return Settings()


def test_the_charts_defaults_equal_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_chart_settings({}, monkeypatch).model_dump()
    chart_defaults = {"device": "cpu", "drain_pause_s": 10.0}
    assert settings == {name: field.default for name, field in Settings.model_fields.items()} | chart_defaults


def test_the_service_keeps_connections_for_longer_than_the_shipped_nginx_does() -> None:
    """Or nginx would send a request into a closed one, and answer 502."""
    upstream = (CHART / "files" / "nginx.conf").read_text().partition("upstream ganmint {")[2].partition("}")[0]
    (proxy_s,) = re.findall(r"keepalive_timeout (\d+)s;", upstream)
    assert Settings.model_fields["keep_alive_s"].default > int(proxy_s)


def test_every_setting_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "gpu": {"enabled": True},
        "settings": {
            "models": ["digits", "faces"],
            "maxN": 65536,
            "queueImages": 20_000_000,
            "timeoutSeconds": 2.5,
            "maxBodyBytes": 2_000_000,
            "maxFileBytes": 3_000_000,
            "maxHeadBytes": 65_536,
            "headTimeoutSeconds": 2.5,
            "keepAliveSeconds": 620,
            "rootPath": "/images",
            "trustForwardedPrefix": True,
            "cacheMegabytes": 2_000,
            "loadedModels": 2,
            "runtime": "torchscript",
            "corsOrigins": ["https://a.example", "https://b.example"],
            "publicImages": True,
            "shareWeights": False,
            "accessLog": True,
            "pollSeconds": 0.5,
        },
        "apiKeys": {"existingSecret": "mine", "rateStore": "redis://limits:6379", "rateStoreDown": "closed"},
        "models": {"publicKey": "-----BEGIN PUBLIC KEY-----"},
    }
    settings = read_chart_settings(values, monkeypatch)
    assert settings.names == {"digits", "faces"} and settings.origins == ["https://a.example", "https://b.example"]
    assert (settings.max_n, settings.queue_images, settings.max_body_bytes) == (65536, 20_000_000, 2_000_000)
    assert settings.max_file_bytes == 3_000_000
    assert (settings.max_head_bytes, settings.head_timeout_s, settings.keep_alive_s) == (65_536, 2.5, 620)
    assert settings.require_signed and settings.trust.keys
    assert settings.root_path == "/images" and settings.trust_forwarded_prefix
    assert (settings.cache_mb, settings.loaded_models, settings.runtime) == (2_000, 2, "torchscript")
    assert (settings.rate_store, settings.rate_store_down) == ("redis://limits:6379", "closed")
    assert settings.public_images and not settings.share_weights
    assert (settings.timeout_s, settings.poll_s, settings.access_log, settings.device) == (2.5, 0.5, True, "cuda")
    (pod,) = iterate_pods(render(values))
    (keys,) = [volume for volume in pod["volumes"] if volume["name"] == "keys"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "keys"]
    # A whole folder: a file by subPath would never change.
    assert "subPath" not in mount and keys["secret"]["secretName"] == "mine"
    assert settings.api_keys_file == f"{mount['mountPath']}/{keys['secret']['items'][0]['path']}"


def test_signatures_are_required_of_whatever_pod_loads_a_model() -> None:
    key = "-----BEGIN PUBLIC KEY-----"
    export = {"enabled": True, "model": "digits/4.2.0", "count": 10, "out": "s3://bucket/digits"}
    for values in ({"export": export}, {"export": export, "serving": {"enabled": False}}):
        documents = render({**values, "models": {"publicKey": key}})
        for pod in iterate_pods(documents):
            environment = read_environment(pod)
            assert environment["GANMINT_REQUIRE_SIGNED"] == "1"
            (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "signer"]
            (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "signer"]
            (signer,) = [d for d in documents if d["metadata"]["name"] == volume["configMap"]["name"]]
            ((file, content),) = signer["data"].items()
            assert (environment["GANMINT_PUBLIC_KEY"], content) == (f"{mount['mountPath']}/{file}", key)


def test_the_keys_in_the_secret_are_what_the_service_reads() -> None:
    documents = render({"apiKeys": {"records": [KEY]}})
    keys = parse_keys(find_one(documents, "Secret")["stringData"]["keys.json"], "the Secret")
    assert [(key.name, key.requests_per_minute) for key in keys.values()] == [("alice", 60)]


@pytest.mark.parametrize(
    ("mode", "kind"), [("off", None), ("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")]
)
def test_one_autoscaler_or_a_fixed_number_of_pods(mode: str, kind: str | None) -> None:
    documents = render({"autoscaling": {"mode": mode, "maxReplicas": 5}})
    scalers = [d for d in documents if d["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    assert [scaler["kind"] for scaler in scalers] == [kind] * (kind is not None)
    # An upgrade must not set back what the autoscaler chose.
    assert ("replicas" in find_one(documents, "Deployment")["spec"]) == (kind is None)
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == find_one(documents, "Deployment")["metadata"]["name"]
        assert 5 in (scaler["spec"].get("maxReplicas"), scaler["spec"].get("maxReplicaCount"))


@pytest.mark.parametrize("gpu", [False, True])
def test_the_autoscaler_acts_before_a_worker_fills_its_core(gpu: bool) -> None:
    """A worker mints on one core, and an HPA acts 10 % above its target: a higher one is never reached."""
    values = {"gpu": {"enabled": gpu}}
    (metric,) = find_one(render(values), "HorizontalPodAutoscaler")["spec"]["metrics"]
    target = metric["resource"]["target"]
    assert target["type"] == "AverageValue" and int(target["averageValue"].removesuffix("m")) * 1.1 < 1000
    scaler = find_one(render({**values, "autoscaling": {"mode": "keda"}}), "ScaledObject")
    by_wait, by_cpu = scaler["spec"]["triggers"]
    assert (by_cpu["metricType"], by_cpu["metadata"]["value"]) == ("AverageValue", target["averageValue"])
    # Seconds, so that one threshold suits quick and slow models.
    assert "ganmint_forward_duration_seconds_sum" in by_wait["metadata"]["query"]
    assert float(by_wait["metadata"]["threshold"]) == 0.5


def test_a_gpu_is_asked_for_only_where_it_is_wanted() -> None:
    for enabled in (False, True):
        (pod,) = iterate_pods(render({"gpu": {"enabled": enabled}}))
        (container,) = pod["containers"]
        assert container["resources"]["limits"].get("nvidia.com/gpu") == (1 if enabled else None)
        assert container["image"].endswith("-cuda") == enabled
        assert bool(pod.get("tolerations")) == enabled


def test_names_stay_within_the_limit_of_kubernetes() -> None:
    for document in render({"export": EXPORT, "autoscaling": {"mode": "keda"}}, name="r" * 53):
        assert len(document["metadata"]["name"]) <= 63, document["kind"]


def test_the_notes_list_what_is_missing() -> None:
    bare = render_templates({"autoscaling": {"mode": "off"}, "networkPolicy": {"enabled": False}})["NOTES.txt"]
    assert all(word in bare for word in ("No API keys", "No NetworkPolicy", "Nothing scales it", "Nothing watches it"))
    whole = render_templates({"apiKeys": {"records": [KEY]}, "monitoring": {"enabled": True}, "ingress": INGRESS})[
        "NOTES.txt"
    ]
    assert "No" not in whole and "https://images.example/v1/models" in whole


def test_a_change_of_keys_replaces_the_pods() -> None:
    def read_checksum(values: Values) -> str:
        template = find_one(render(values), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/keys"])

    keys: list[Values] = [
        {},
        {"apiKeys": {"records": [KEY]}},
        {"apiKeys": {"records": [{**KEY, "requests_per_minute": 61}]}},
        {"models": {"publicKey": "-----BEGIN PUBLIC KEY-----"}},
    ]
    assert len({read_checksum(values) for values in keys}) == len(keys)
    assert read_checksum(keys[1]) == read_checksum({**keys[1], "replicas": 3})


def test_what_is_added_arrives_in_every_pod_and_object() -> None:
    values = MATRIX["everything else"]
    documents = render({**values, "export": EXPORT})
    for document in documents:
        assert document["metadata"]["labels"]["team"] == "images", document["kind"]
        assert document["metadata"]["annotations"]["reloader.stakater.com/auto"] == "true", document["kind"]
    for pod in iterate_pods(documents):
        assert values["extraVolumes"][0] in pod["volumes"]
        assert values["extraVolumeMounts"][0] in pod["containers"][0]["volumeMounts"]
    pod = find_one(documents, "Deployment")["spec"]["template"]["spec"]
    assert pod["initContainers"] == values["extraInitContainers"]
    assert pod["containers"][0]["args"][-1] == "--backlog=4096"


def test_an_objects_own_labels_and_annotations_win() -> None:
    shared = {"labels": {"release": "all"}, "annotations": {"a": "all"}}
    documents = render({**shared, "monitoring": {"enabled": True}, "service": {"annotations": {"a": "b"}}})
    assert find_one(documents, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
    assert find_one(documents, "Service")["metadata"]["annotations"] == {"a": "b"}


def test_the_readme_has_every_value() -> None:
    text = (DEPLOY / "README.md").read_text()
    names = {name.lstrip(".") for name in re.findall(r"`([\w.]+)`", text)}
    names |= {name.rpartition(".")[2] for name in names}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name, value in values.items():
        inner = {f"{name}.{key}": key for key in value} if isinstance(value, dict) else {}
        assert any(n.partition(".")[0] == name for n in names), name
        assert [path for path, key in inner.items() if key not in names] == [] or name == "resources"
