"""OpenTelemetry traces, for those who ask for them (GANMINT_TRACING=1).

Knows: how spans leave the process: OTLP over HTTP, configured by the standard OTEL_* environment
variables. Does not know: routes, models.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fastapi import FastAPI

from models.errors import InputError


def install(app: FastAPI) -> Callable[[], None]:
    """A span for every request, continuing the caller's trace; sent in the background.

    Returns: to be called at the end, from a thread: sends what is left. The process ends by a signal, without
        the exit handlers that OpenTelemetry counts on.
    Raises: InputError when the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install 'ganmint[tracing]'", "GANMINT_TRACING") from None
    # OTEL_SERVICE_NAME goes before a name that is only given here.
    given = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "ganmint"}
    provider = TracerProvider(resource=Resource.create(given))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    # One span a request: those of each ASGI message say nothing more.
    app.add_middleware(OpenTelemetryMiddleware, tracer_provider=provider, exclude_spans=["receive", "send"])
    return provider.shutdown
