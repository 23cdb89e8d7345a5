"""Traces leave the service when they are asked for, and only then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from models import store
from tests.services.conftest import running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """An OTLP/HTTP collector that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.paths: list[str] = []
        self.services: set[str] = set()
        self.spans: list[Span] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
            self.server.services.update(names)
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("tracing", ["1", "0"])
def test_a_request_is_a_span_of_its_callers_trace_where_tracing_is_on(
    tracing: str, collector: Collector, tiny_artifact: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path / "home"))
        store.install(tiny_artifact)
    settings = {"GANMINT_TRACING": tracing, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with running(
        tmp_path / "home", tmp_path / "log", None, **settings, OTEL_EXPORTER_OTLP_COMPRESSION="none"
    ) as server:
        for body in ({"model": "tiny", "seed": 7}, {"model": "tiny", "n": 0}):
            httpx.post(server.url + "/generate", json=body, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        # What is still to be sent is sent before the end.
        assert server.stop() == 0
    ours = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    if tracing == "0":
        assert collector.paths == []
        return
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.services == {"ganmint"}
    assert [span.parent_span_id.hex() for span in ours] == [PARENT] * 2
    statuses = [a.value.int_value for span in ours for a in span.attributes if a.key.endswith("status_code")]
    assert statuses == [200, 422]
