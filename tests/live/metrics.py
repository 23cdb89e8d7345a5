"""The values of a server's /metrics."""

from __future__ import annotations

import re

from tests.live.server import Server


def read_metric(server: Server, series: str) -> float:
    """Return the value of a series, written as in Prometheus' text format; 0 where there is none."""
    text = server.get("/metrics").text
    match = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else 0.0
