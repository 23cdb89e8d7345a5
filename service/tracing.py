"""Sends OpenTelemetry traces (GANMINT_TRACING=1): OTLP over HTTP, configured by the standard OTEL_* variables."""

from __future__ import annotations

import os
from collections.abc import Callable

from fastapi import FastAPI

from models.errors import InputError


def install(app: FastAPI) -> Callable[[], None]:
    """Add a span for every request, within the caller's trace; spans are sent in the background.

    Returns:
        A function that sends the remaining spans; call it at shutdown, from a thread. The process ends by a
        signal, without the exit handlers that OpenTelemetry relies on.

    Raises:
        InputError: when the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing: pip install '.[tracing]' (in the checkout)", "GANMINT_TRACING"
        ) from None
    # Attributes given here would override OTEL_SERVICE_NAME.
    attributes = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "ganmint"}
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    # One span per request: spans of each ASGI message would add nothing.
    app.add_middleware(OpenTelemetryMiddleware, tracer_provider=provider, exclude_spans=["receive", "send"])
    return provider.shutdown
