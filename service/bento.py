"""The Bento service that `bentoml serve`, `bentoml build` and `bentoml containerize` run.

Keep this module light to import: BentoML's arbiter imports it too, and only the workers need more.
"""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Any

from service import lifecycle
from service.settings import read_settings

lifecycle.end_when_a_start_fails()
SETTINGS = read_settings()
# prometheus_client reads this variable on import. BentoML sets it to a folder that all servers of a user share and
# wipe. The arbiter makes a folder of its own instead, which its workers inherit.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
if SETTINGS.workers > 1:
    if "GANMINT_METRICS_DIR" not in os.environ:
        os.environ["GANMINT_METRICS_DIR"] = tempfile.mkdtemp(prefix="ganmint-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["GANMINT_METRICS_DIR"]
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import bentoml  # noqa: E402


class _DirectService(bentoml.Service):  # type: ignore[misc]
    """Passes requests straight to the app; BentoML handles only start and stop.

    BentoML's own layers would serve /livez, /readyz and /metrics in the app's place, apply a time-out of their own,
    and take more time per request than the app does (176 against 71 µs).
    """

    def to_asgi(self, is_main: bool = True) -> Any:
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        logging.getLogger("ganmint").setLevel(logging.INFO)
        lifecycle.die_with_parent()
        lifecycle.raise_file_limit()
        with lifecycle.report_failed_start():
            from service import http_protocol
            from service.app import create_app

            app = create_app(SETTINGS, on_loaded=lifecycle.freeze_garbage)
            limits = http_protocol.Limits(SETTINGS.max_head_bytes, SETTINGS.head_timeout_s, SETTINGS.keep_alive_s)
            http_protocol.install(limits, lambda reason: app.state.metrics.shed.labels(reason).inc())
        # Mounted so that BentoML runs the app's lifespan.
        self.mount_asgi_app(app, path="/")
        bentoml_app = super().to_asgi(is_main)

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                lifecycle.drain_on_sigterm(app.state.registry.drain, SETTINGS.drain_pause_s)
                await bentoml_app(scope, receive, send)
            else:
                await app(scope, receive, send)

        return asgi


@bentoml.service(
    name="ganmint",
    workers=SETTINGS.workers,
    service_class=_DirectService,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Ganmint:
    """Synthetic images from seeds over HTTP."""
