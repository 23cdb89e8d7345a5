"""The service's Prometheus metrics.

Knows: their names, units and labels (bounded: route templates, never raw paths), and how several
workers add up (prometheus_client's multiprocess mode, when PROMETHEUS_MULTIPROC_DIR is set). Does not
know: who reports them.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# They double the series and nobody plots them.
disable_created_metrics()  # type: ignore[no-untyped-call]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RATIOS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
MODEL = ("model", "version")


class Metrics:
    """All metrics of one worker process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        self.requests = counter("ganmint_requests", "HTTP requests answered.", ("route", "method", "code"))
        self.images = counter("ganmint_images", "Images minted.", MODEL)
        self.failures = counter("ganmint_mint_failures", "Requests ended by an error inside the model.", MODEL)
        self.shed = counter("ganmint_shed", "Requests refused or dropped.", ("reason",))
        self.duration = histogram("ganmint_request_duration_seconds", "Time to answer a request.", ("route",))
        self.wait = histogram("ganmint_queue_wait_seconds", "Until a request's first image is in a batch.", MODEL)
        self.forward = histogram("ganmint_forward_duration_seconds", "One fixed batch: z to pixels.", MODEL)
        self.encode = histogram("ganmint_encode_duration_seconds", "One batch: pixels to files.", MODEL)
        self.fill = histogram("ganmint_batch_fill_ratio", "Share of the fixed batch asked for.", MODEL, RATIOS)
        self.queue = gauge("ganmint_queue_images", "Images waiting for a batch.", MODEL)
        self.limit = gauge("ganmint_queue_limit_images", "Images that may wait before requests are refused.", MODEL)
        self.golden = gauge("ganmint_model_golden_ok", "1 if hashes and goldens passed.", MODEL, "livemin")
        self.info = gauge("ganmint_model_info", "Always 1.", (*MODEL, "digest", "device", "batch_size"), "livemax")
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.gpu_memory = gauge("ganmint_gpu_memory_bytes", "Reserved by torch on the GPU.", ("device",))

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count a request. Label look-ups are kept: they take longer than the counting."""
        key = (route, method, code)
        if key not in self._answered:
            self._answered[key] = self.requests.labels(route, method, str(code)), self.duration.labels(route)
        count, duration = self._answered[key]
        count.inc()
        duration.observe(seconds)

    def text(self) -> bytes:
        """Prometheus' text format, over all workers."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        for file in Path(folder).glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            if not Path(f"/proc/{pid}").exists():
                # Killed without a word: its gauges would count for ever.
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...], workers: str = "livesum") -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=workers)  # type: ignore[arg-type]


class ModelMetrics:
    """What happens to one version's images; label look-ups done once."""

    def __init__(self, metrics: Metrics, name: str, version: str) -> None:
        key = (name, version)
        self._images, self._failures = metrics.images.labels(*key), metrics.failures.labels(*key)
        self._wait, self._forward = metrics.wait.labels(*key), metrics.forward.labels(*key)
        self._encode, self._fill = metrics.encode.labels(*key), metrics.fill.labels(*key)
        self._queue = metrics.queue.labels(*key)

    def waiting(self, images: int) -> None:
        """How many images wait now."""
        self._queue.set(images)

    def waited(self, seconds: float) -> None:
        """A request's first image went into a batch."""
        self._wait.observe(seconds)

    def forwarded(self, images: int, batch_size: int, seconds: float) -> None:
        """A batch was minted."""
        self._images.inc(images)
        self._fill.observe(images / batch_size)
        self._forward.observe(seconds)

    def encoded(self, seconds: float) -> None:
        """A batch was encoded."""
        self._encode.observe(seconds)

    def failed(self) -> None:
        """A request was ended by an error inside the model."""
        self._failures.inc()
