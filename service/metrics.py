"""The service's Prometheus metrics.

Knows: their names, units and labels (bounded: route templates, never raw paths). Does not know: who
reports them.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# They double the series and nobody plots them.
disable_created_metrics()  # type: ignore[no-untyped-call]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """All metrics of one service process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        model = ["model", "version"]
        self.requests = self._counter("ganmint_requests", "HTTP requests answered.", ["route", "method", "code"])
        self.images = self._counter("ganmint_images", "Images minted.", model)
        self.shed = self._counter("ganmint_shed", "Requests refused for lack of room or readiness.", ["reason"])
        self.duration = self._histogram("ganmint_request_duration_seconds", "Time to answer a request.", ["route"])
        self.forward = self._histogram("ganmint_forward_duration_seconds", "One fixed batch: z to pixels.", model)
        self.encode = self._histogram("ganmint_encode_duration_seconds", "Pixels to files, per request.", [])
        self.batch_fill = Histogram(
            "ganmint_batch_fill_ratio",
            "Share of the fixed batch that was asked for.",
            model,
            buckets=(0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0),
            registry=self.registry,
        )
        self.queue = Gauge("ganmint_queue_images", "Images waiting.", model, registry=self.registry)
        self.golden = Gauge("ganmint_model_golden_ok", "1 if the golden check passed.", model, registry=self.registry)
        self.info = Gauge(
            "ganmint_model_info", "Always 1.", [*model, "digest", "device", "batch_size"], registry=self.registry
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(name, text, labels, buckets=SECONDS, registry=self.registry)
