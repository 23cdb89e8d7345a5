"""Traces leave the service when they are asked for, and only then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from models import store
from service.app import create_app
from service.settings import Settings
from tests.live.conftest import running

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENTS = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
BODIES: list[dict[str, object]] = [{"model": "tiny", "seed": 7}, {"model": "tiny", "n": 0}]


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


def test_a_request_is_a_span_of_its_callers_trace_and_none_is_lost_at_the_end(
    collector: Collector, tiny_artifact: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path / "home"))
        store.install(tiny_artifact)
    settings = {"GANMINT_TRACING": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with running(tmp_path / "home", tmp_path / "log", None, **settings) as server:
        for body in BODIES:
            httpx.post(server.url + "/generate", json=body, headers=PARENTS)
        assert server.stop() == 0
    ours = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.services == {"ganmint"}
    assert [span.parent_span_id.hex() for span in ours] == [PARENT] * 2
    statuses = [a.value.int_value for span in ours for a in span.attributes if a.key.endswith("status_code")]
    assert statuses == [200, 422]


@pytest.mark.parametrize("tracing", [True, False])
def test_nothing_is_sent_unless_tracing_is_on(
    tracing: bool, collector: Collector, store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)

    async def main() -> None:
        app = create_app(Settings(device="cpu", tracing=tracing))
        transport = httpx.ASGITransport(app=app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as c:
            await c.post("/generate", json=BODIES[0], headers=PARENTS)

    asyncio.run(main())
    assert collector.paths == ["/v1/traces"] * tracing
