"""The Bento service: what `bentoml serve`, `bentoml build` and `bentoml containerize` run.

Knows: how the FastAPI app is mounted in BentoML, and BentoML's lean settings. Does not know: routes.

Light to import: BentoML's arbiter imports this module too, and only the workers need torch.
"""

from __future__ import annotations

import logging
import os
from typing import Any

# BentoML sets it for its own metrics; ours are per process (one worker), and the library reads it on import.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")

import bentoml


class _Direct(bentoml.Service):  # type: ignore[misc]
    """Hands requests straight to the app, and only start and stop to BentoML.

    BentoML's own layers would answer /livez, /readyz and /metrics in the app's place, time requests
    out by their own rule, and take more time per request than the app does (176 against 71 µs).
    """

    def to_asgi(self, is_main: bool = True) -> Any:
        import torch

        from models.sampler import THREADS
        from service.http import create_app
        from service.settings import from_environment

        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        logging.getLogger("ganmint").setLevel(logging.INFO)
        # Before any thread is made, so that no forward ever has to change it.
        torch.set_num_threads(THREADS)
        app = create_app(from_environment())
        # Mounted, so that BentoML runs the app's lifespan.
        self.mount_asgi_app(app, path="/")
        outer = super().to_asgi(is_main)

        async def asgi(scope: Any, receive: Any, send: Any) -> None:
            await (outer if scope["type"] == "lifespan" else app)(scope, receive, send)

        return asgi


@bentoml.service(
    name="ganmint",
    workers=1,
    service_class=_Direct,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Ganmint:
    """Synthetic images from seeds over HTTP."""
