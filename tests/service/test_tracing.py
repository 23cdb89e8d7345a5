"""The spans of a request, as they would be sent (tests/live/test_tracing.py sends them)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from models.errors import InputError
from service import tracing
from service.app import create_app
from service.settings import Settings

URL = "/v1/images/tiny/1.0.0/7/0.png?label=1"
GRID = {"Accept": "image/png"}


class Spans:
    """What was sent, once the service has stopped."""

    def __init__(self, exported: Sequence[ReadableSpan]) -> None:
        self._exported = exported

    def of(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exported if span.name == name]

    def below(self, parent: ReadableSpan) -> dict[str, ReadableSpan]:
        """Return a span's children by name."""
        return {s.name: s for s in self._exported if s.parent and s.parent.span_id == parent.context.span_id}


@pytest.fixture
def trace_requests(
    serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[httpx.Request]], Spans]:
    """Sends requests to a service with tracing, one after the other, and returns the spans."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "_make_exporter", lambda: exporter)

    def run(requests: Sequence[httpx.Request]) -> Spans:
        async def scenario(client: httpx.AsyncClient) -> None:
            for request in requests:
                await client.send(request)

        serve(scenario, tracing=True)
        return Spans(exporter.get_finished_spans())

    return run


def make_request(method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> httpx.Request:
    return httpx.Request(method, f"http://t{path}", json=body, headers=headers)


@pytest.mark.parametrize("headers", [{}, GRID, {"Accept": "application/zip"}], ids=["json", "grid", "zip"])
def test_a_trace_says_where_the_time_of_a_request_went(
    headers: dict[str, str], trace_requests: Callable[[Sequence[httpx.Request]], Spans]
) -> None:
    body = {"model": "tiny", "seed": 7, "index": 5, "n": 3, "labels": 1}
    spans = trace_requests([make_request("POST", "/generate", body, headers)])
    (request,) = spans.of("POST /generate")
    below = spans.below(request)
    assert set(below) == {"queue", "forward", "encode"}
    expected = {
        "ganmint.address": "tiny/1.0.0/7/5?label=1",
        "ganmint.model": "tiny",
        "ganmint.version": "1.0.0",
        "ganmint.n": 3,
    }
    for span in (request, *below.values()):
        assert expected.items() <= dict(span.attributes or {}).items(), span.name
    times = [below[name] for name in ("queue", "forward", "encode")]
    edges = [at for span in times for at in (span.start_time or 0, span.end_time or 0)]
    assert edges == sorted(edges) and (request.start_time or 0) <= edges[0]


def test_spans_have_the_name_of_their_route_and_the_address_also_of_a_cached_image(
    trace_requests: Callable[[Sequence[httpx.Request]], Spans],
) -> None:
    requests = [make_request("GET", path) for path in (URL, URL, "/livez", "/metrics", "/nowhere/7")]
    spans = trace_requests(requests)
    minted, cached = spans.of("GET /v1/images/{model}/{version}/{seed}/{index}.{extension}")
    assert [set(spans.below(span)) for span in (minted, cached)] == [{"queue", "forward", "encode"}, set()]
    assert [dict(s.attributes or {})["ganmint.address"] for s in (minted, cached)] == ["tiny/1.0.0/7/0?label=1"] * 2
    assert len(spans.of("GET")) == 1
    assert not spans.of("GET /livez") and not spans.of("GET /metrics")


def test_an_unknown_exporter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(InputError, match="OTEL_TRACES_EXPORTER: must be one of otlp, console, got 'zipkin'"):
        create_app(Settings(device="cpu", tracing=True))
