"""What the platform asks: whether the process lives, whether it can serve, and its metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service import errors
from service.api_description import PROBLEMS
from service.metrics import Metrics
from service.registry import Registry
from service.request_state import get_registry

router = APIRouter()


@router.get("/livez", responses={503: PROBLEMS[503]})
async def livez(request: Request) -> Any:
    """Return 200 while the event loop runs, and 503 when only a new process can serve: the GPU refuses all work."""
    if get_registry(request).device_probe.needs_restart:
        return errors.problem_response(503, "Not live", "the GPU refuses all work; restart the service")
    return {"status": "live"}


@router.get("/readyz", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> Any:
    """Return 200 once the models are loaded and checked, and 503 before that and while draining."""
    registry = get_registry(request)
    if reason := find_unready_reason(registry):
        return _respond_not_ready(reason)
    return {
        "status": "ready",
        "models": [f"{model.manifest.name}/{model.manifest.version}" for model in registry.list_newest()],
        "broken": [f"{name}/{version}" for name, version in registry.list_load_errors()],
    }


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    service_metrics: Metrics = request.app.state.metrics
    record_readiness(get_registry(request), service_metrics)
    return Response(service_metrics.render(), media_type=CONTENT_TYPE_LATEST)


def record_readiness(registry: Registry, service_metrics: Metrics) -> None:
    """Set the gauges that say whether this worker is ready, and whether it drains."""
    service_metrics.ready.set(find_unready_reason(registry) is None)
    service_metrics.draining.set(registry.is_draining)


def find_unready_reason(registry: Registry) -> str | None:
    """Return why the service is not ready; None where it is."""
    if registry.is_draining:
        return "the service is shutting down"
    if registry.device_probe.is_lost:
        return "the GPU refuses work"
    if not registry.is_ready:
        load_errors = describe_load_errors(registry)
        reasons = [f"{error['model']}/{error['version']}: {error['reason']}" for error in load_errors]
        return "; ".join(["no model is loaded and checked yet", *reasons])
    return None


def describe_load_errors(registry: Registry) -> list[dict[str, str]]:
    """Return the versions that are not served, each with model, version and reason, sorted."""
    load_errors = sorted(registry.list_load_errors().items())
    return [
        {"model": name, "version": version, "reason": errors.describe_load_error(error)}
        for (name, version), error in load_errors
    ]


def _respond_not_ready(reason: str) -> Response:
    return errors.problem_response(503, "Not ready", reason, headers={"Retry-After": "5"})
