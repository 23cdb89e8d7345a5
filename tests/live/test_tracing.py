"""The service sends traces if tracing is on, and only then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.app import create_app
from service.settings import Settings
from tests.live.server import install, run_server
from tests.service.app_client import connect

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
BODIES: list[dict[str, object]] = [{"model": "tiny", "seed": 7}, {"model": "tiny", "n": 0}]


class Collector(ThreadingHTTPServer):
    """An OTLP/HTTP collector that stores what it receives."""

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


def test_each_request_is_a_span_in_its_clients_trace(collector: Collector, tiny_artifact: Path, tmp_path: Path) -> None:
    install(tmp_path / "home", tiny_artifact)
    settings = {"GANMINT_TRACING": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with run_server(tmp_path / "home", tmp_path / "log", None, **settings) as server:
        for body in BODIES:
            server.post_generate(body, headers=HEADERS)
        assert server.stop() == 0
    spans = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.services == {"ganmint"}
    requests = [span for span in spans if span.parent_span_id.hex() == PARENT]
    statuses = [a.value.int_value for span in requests for a in span.attributes if a.key.endswith("status_code")]
    assert statuses == [200, 422]
    assert {span.name for span in requests} == {"POST /generate"}
    assert {span.name: span.parent_span_id for span in spans if span not in requests} == dict.fromkeys(
        ["queue", "forward", "encode"], requests[0].span_id
    )


@pytest.mark.parametrize("tracing", [True, False])
def test_nothing_is_sent_unless_tracing_is_on(
    tracing: bool, collector: Collector, store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)

    async def main() -> None:
        async with connect(create_app(Settings(device="cpu", tracing=tracing))) as client:
            await client.post("/generate", json=BODIES[0], headers=HEADERS)

    asyncio.run(main())
    assert collector.paths == ["/v1/traces"] * tracing
