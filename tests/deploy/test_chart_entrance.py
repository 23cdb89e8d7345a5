"""The ways into the service that the chart opens, and the cache in front of it."""

from __future__ import annotations

import json

import pytest

from service.app import ROUTERS

pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")

from deploy.chart import INGRESS, KEY, ROUTE, Values, find_one, iterate_pods, render

PATHS = {getattr(route, "path", "") for router in ROUTERS for route in router.routes}


def test_the_ingress_keeps_caching_and_hides_metrics() -> None:
    ingress = find_one(render({"ingress": INGRESS, "apiKeys": {"records": [KEY]}}), "Ingress")
    assert "annotations" not in ingress["metadata"]
    paths = [(p["path"], p["pathType"]) for p in ingress["spec"]["rules"][0]["http"]["paths"]]
    assert ("/", "Prefix") not in paths

    def is_reachable(route: str) -> bool:
        return any(route == p or (kind == "Prefix" and route.startswith(p + "/")) for p, kind in paths)

    inside = {"/metrics", "/livez", "/readyz"}
    assert {route for route in PATHS if not is_reachable(route)} == inside


def test_a_cache_stands_between_the_ingress_and_the_service() -> None:
    values = {"cache": {"enabled": True, "sizeGigabytes": 3}, "ingress": INGRESS, "apiKeys": {"open": True}}
    values["gpu"] = {"enabled": True}
    documents = render(values, name="images")
    backends = {
        path["backend"]["service"]["name"]
        for path in find_one(documents, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    }
    assert backends == {"images-ganmint-cache"}
    (configuration,) = [d["data"]["nginx.conf"] for d in documents if "nginx.conf" in d.get("data", {})]
    assert "server images-ganmint:80;" in configuration and "max_size=3g" in configuration
    assert "127.0.0.1:3000;" not in configuration
    pods = [pod for pod in iterate_pods(documents) if pod["containers"][0]["name"] == "cache"]
    # It must not take a node that has GPUs.
    assert "tolerations" not in pods[0]
    assert pods[0]["containers"][0]["command"][-1] == "/etc/ganmint-cache/nginx.conf"


def test_only_named_namespaces_and_neighbours_are_admitted() -> None:
    def peers(values: Values) -> list[str]:
        rules = find_one(render(values), "NetworkPolicy")["spec"]["ingress"]
        return [json.dumps(peer) for rule in rules for peer in rule["from"]]

    assert peers({}) == ['{"podSelector": {}}']
    for way_in in ({"ingress": INGRESS}, {"httpRoute": ROUTE}):
        assert "ingress-nginx" in "".join(peers({**way_in, "apiKeys": {"open": True}}))
    assert "monitoring" in "".join(peers({"monitoring": {"enabled": True}}))
    assert "monitoring" in "".join(peers({"autoscaling": {"mode": "keda"}}))
    assert find_one(render(), "NetworkPolicy")["spec"]["egress"] == []


def test_the_route_of_a_gateway_leads_where_the_ingress_does() -> None:
    values = {"ingress": INGRESS, "httpRoute": ROUTE, "apiKeys": {"records": [KEY]}}
    documents = render(values)
    paths = find_one(documents, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    types = {"Exact": "Exact", "Prefix": "PathPrefix"}
    # Whole: no package for Python has the schemas of the Gateway API.
    route = find_one(documents, "HTTPRoute")
    assert route.pop("apiVersion") == "gateway.networking.k8s.io/v1" and "annotations" not in route["metadata"]
    assert route["spec"] == {
        "parentRefs": ROUTE["parentRefs"],
        "hostnames": ["images.example"],
        "rules": [
            {
                "matches": [{"path": {"type": types[p["pathType"]], "value": p["path"]}} for p in paths],
                "backendRefs": [
                    {"name": "ganmint", "port": find_one(documents, "Service")["spec"]["ports"][0]["port"]}
                ],
            }
        ],
    }
    cached = render({"httpRoute": ROUTE, "apiKeys": {"open": True}, "cache": {"enabled": True}})
    assert find_one(cached, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["name"] == "ganmint-cache"


@pytest.mark.parametrize("policy", ["", "PreferDualStack"])
def test_pods_listen_on_ipv6_where_their_services_may_have_it(policy: str) -> None:
    documents = render({"service": {"ipFamilyPolicy": policy}, "cache": {"enabled": True}, "apiKeys": {"open": True}})
    services = [document["spec"] for document in documents if document["kind"] == "Service"]
    assert len(services) == 2 and {spec.get("ipFamilyPolicy", "") for spec in services} == {policy}
    (container,) = next(pod for pod in iterate_pods(documents) if pod["containers"][0]["name"] == "ganmint")[
        "containers"
    ]
    assert container["args"][1:3] == ["--host", "::" if policy else "0.0.0.0"]
    (configuration,) = [d["data"]["nginx.conf"] for d in documents if "nginx.conf" in d.get("data", {})]
    # Without the second word nginx would not take IPv4 there.
    assert ("listen [::]:8080 ipv6only=off;" if policy else "listen 8080;") in configuration
