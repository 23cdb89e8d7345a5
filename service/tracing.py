"""OpenTelemetry traces (GANMINT_TRACING=1): a span for each request, and within it where its time went.

Configured by the standard OTEL_* variables. Imported only where tracing is on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.address import Address
from models.errors import InputError

EXPORTER = "OTEL_TRACES_EXPORTER"
# Probes and scrapes would be most of the traces of a quiet service.
NOT_TRACED = "/(livez|readyz|metrics)$"


class Tracing:
    """Makes the spans and sends them in the background.

    Raises:
        InputError: the exporter is not known.
    """

    def __init__(self) -> None:
        # Attributes given here would override OTEL_SERVICE_NAME.
        attributes = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "ganmint"}
        self._provider = TracerProvider(resource=Resource.create(attributes))
        self._provider.add_span_processor(BatchSpanProcessor(_make_exporter()))
        self._tracer = self._provider.get_tracer("ganmint")

    def add_route_names(self, app: FastAPI) -> None:
        """Add the middleware that names spans; further in than whatever copies the scope."""
        app.add_middleware(RouteNameMiddleware)

    def add_request_spans(self, app: FastAPI) -> None:
        """Add the middleware that makes a span for every request, within the caller's trace."""
        app.add_middleware(
            OpenTelemetryMiddleware,
            tracer_provider=self._provider,
            excluded_urls=os.environ.get("OTEL_PYTHON_EXCLUDED_URLS", NOT_TRACED),
            default_span_details=lambda scope: (scope.get("method", ""), {}),
            # One span per request: spans of each ASGI message would add nothing.
            exclude_spans=["receive", "send"],
        )

    def start_trace(self, addresses: Sequence[Address]) -> RequestSpans | None:
        """Describe the current request's span by what it mints (see `service.pending_request.StartTrace`)."""
        span = trace.get_current_span()
        if not span.is_recording():
            return None
        span.set_attributes(_describe(str(addresses[0]), len(addresses)))
        return RequestSpans(self._tracer, span, get_current())

    def describe_image(self, address: str) -> None:
        """Describe the current request's span by one image, which need not have been minted for it."""
        trace.get_current_span().set_attributes(_describe(address, 1))

    def stop(self) -> None:
        """Send the remaining spans. Call it at shutdown, from a thread.

        The process ends by a signal, without the exit handlers that OpenTelemetry relies on.
        """
        self._provider.shutdown()


class RouteNameMiddleware:
    """Names a request's span by its route template, as soon as it is known: raw paths would be as many as images."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def name_and_send(message: Message) -> None:
            _name_span(scope)
            await send(message)

        try:
            await self._app(scope, receive, name_and_send)
        finally:
            # Where an error has left no response.
            _name_span(scope)


class RequestSpans:
    """The spans of one request (see `service.pending_request.RequestTrace`)."""

    def __init__(self, tracer: trace.Tracer, request_span: trace.Span, context: Context) -> None:
        self._tracer = tracer
        self._request_span = request_span
        self._context = context
        # From time.perf_counter() to the time of day. Read in this order, it puts no span before its request.
        self._offset_ns = -time.perf_counter_ns() + time.time_ns()

    def add_span(
        self,
        name: str,
        started_at: float,
        ended_at: float,
        addresses: Sequence[Address],
        batch_images: int | None,
    ) -> None:
        """Add a span below the request's."""
        attributes = _describe(str(addresses[0]), len(addresses))
        if batch_images is not None:
            attributes["ganmint.batch.images"] = batch_images
        span = self._tracer.start_span(name, self._context, attributes=attributes, start_time=self._to_ns(started_at))
        span.end(self._to_ns(ended_at))

    def record_error(self, error: BaseException) -> None:
        """Add an exception to the request's span."""
        self._request_span.record_exception(error)

    def _to_ns(self, at: float) -> int:
        return self._offset_ns + round(at * 1e9)


def _describe(address: str, num_images: int) -> dict[str, Any]:
    """Return the attributes of a span about so many images, the first of them at this address."""
    model, version, _ = address.split("/", 2)
    return {"ganmint.address": address, "ganmint.model": model, "ganmint.version": version, "ganmint.n": num_images}


def _name_span(scope: Scope) -> None:
    span = trace.get_current_span()
    route = getattr(scope.get("route"), "path", None)
    if route and span.is_recording():
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)


def _make_exporter() -> SpanExporter:
    exporters: dict[str, Callable[[], SpanExporter]] = {
        "otlp": OTLPSpanExporter,
        # One line of JSON per span on standard output.
        "console": lambda: ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n"),
    }
    name = os.environ.get(EXPORTER, "otlp")
    if name not in exporters:
        raise InputError(f"must be one of {', '.join(exporters)}, got {name!r}", EXPORTER)
    return exporters[name]()
