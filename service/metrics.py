"""Defines and records the service's Prometheus metrics.

Label values are bounded: route templates, never raw paths. Several workers add up (service.worker_metrics) when
PROMETHEUS_MULTIPROC_DIR is set.
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from service import worker_metrics
from service.process_metrics import ServiceProcessCollector

# The _created series would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RATIOS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
MODEL_LABELS = ("model", "version")


class Metrics:
    """All metrics of one worker process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._process_registry = CollectorRegistry()
        self._process_registry.register(ServiceProcessCollector())
        counter = self._add_counter
        histogram = self._add_histogram
        gauge = self._add_gauge
        self.requests = counter(
            "ganmint_requests", "HTTP requests by route, method and status.", ("route", "method", "code")
        )
        self.images = counter("ganmint_images", "Images minted.", MODEL_LABELS)
        self.key_images = counter("ganmint_key_images", "Images asked for with an API key, by its name.", ("key",))
        self.failures = counter("ganmint_mint_failures", "Requests that failed inside the model.", MODEL_LABELS)
        self.shed = counter("ganmint_shed", "Requests refused or dropped, by reason.", ("reason",))
        self.duration = histogram("ganmint_request_duration_seconds", "Duration of a request.", ("route",))
        self.wait = histogram(
            "ganmint_queue_wait_seconds", "Time until a request's first image is in a batch.", MODEL_LABELS
        )
        self.forward = histogram(
            "ganmint_forward_duration_seconds", "Duration of one batch, from latents to pixels.", MODEL_LABELS
        )
        self.encode = histogram(
            "ganmint_encode_duration_seconds", "Duration of encoding one batch to files.", MODEL_LABELS
        )
        self.fill = histogram(
            "ganmint_batch_fill_ratio",
            "Images in a batch, of the most that it may have.",
            MODEL_LABELS,
            RATIOS,
        )
        self.queue = gauge("ganmint_queue_images", "Images waiting for a batch.", MODEL_LABELS)
        self.limit = gauge(
            "ganmint_queue_limit_images", "Images that may wait before requests are refused.", MODEL_LABELS
        )
        self.golden = gauge(
            "ganmint_model_golden_ok", "1 if signature, hashes and goldens passed, else 0.", MODEL_LABELS, "livemin"
        )
        info_labels = (*MODEL_LABELS, "digest", "device", "runtime", "batch_size")
        self.info = gauge("ganmint_model_info", "Always 1.", info_labels, "livemax")
        self.padded = gauge(
            "ganmint_model_padded",
            "1 if an image's bits depend on its batch here, so that every batch is filled up, else 0.",
            MODEL_LABELS,
            "livemax",
        )
        self.cache_requests = counter(
            "ganmint_cache_requests", "Permanent images looked for in the cache, by result.", ("result",)
        )
        self.cache_bytes = gauge("ganmint_cache_bytes", "Memory of the cached permanent images.", ())
        self.gpu_memory = gauge("ganmint_gpu_memory_bytes", "Memory reserved by torch on the GPU.", ("device",))
        self.rate_store_up = gauge(
            "ganmint_rate_store_up", "1 if the shared store of rate limits answers, else 0.", (), "livemin"
        )
        self.rate_store_failures = counter(
            "ganmint_rate_store_failures", "Questions that the shared store of rate limits did not answer.", ()
        )
        self.ready = gauge("ganmint_ready", "1 if /readyz is 200, else 0.", (), "livemin")
        self.draining = gauge(
            "ganmint_draining", "1 while the service finishes and is about to stop, else 0.", (), "livemax"
        )
        self.keys_file_ok = gauge(
            "ganmint_keys_file_ok",
            "1 if the file of API keys could be read when it last changed, else 0.",
            (),
            "livemin",
        )
        self.keys_file_ok.set(1)
        self.build = gauge("ganmint_build_info", "Always 1.", ("version", "python", "onnxruntime"), "livemax")
        self.build.labels(*map(_find_version, ("ganmint", "python", "onnxruntime"))).set(1)
        # Of each loaded version, its labels of `info` beside name and version.
        self._infos: dict[tuple[str, str], tuple[str, ...]] = {}
        self._request_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def record_request(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count and time a request. Label look-ups are cached: they take longer than the counting."""
        key = (route, method, code)
        if key not in self._request_series:
            self._request_series[key] = (self.requests.labels(route, method, str(code)), self.duration.labels(route))
        count, duration = self._request_series[key]
        count.inc()
        duration.observe(seconds)

    def record_loaded(self, name: str, version: str, queue_images: int, is_padded: bool, *info: str) -> None:
        """Say of a version that it is loaded.

        Args:
            name, version: of the model.
            queue_images: how many images may wait for it.
            is_padded: whether its batches are filled up.
            info: digest, device, runtime, batch size.
        """
        self.golden.labels(name, version).set(1)
        self.limit.labels(name, version).set(queue_images)
        self.padded.labels(name, version).set(is_padded)
        self.info.labels(name, version, *info).set(1)
        self._infos[name, version] = info

    def forget_model(self, name: str, version: str) -> None:
        """Drop what is said of a version while it is loaded or broken; what was counted stays."""
        info = self._infos.pop((name, version), None)
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            # Series in the workers' files cannot be removed; service.worker_metrics leaves these out.
            self.golden.labels(name, version).set(1)
            if info:
                self.info.labels(name, version, *info).set(0)
            return
        for gauge in (self.golden, self.limit, self.queue, self.padded, self.info):
            gauge.remove_by_labels({"model": name, "version": version})

    def render(self) -> bytes:
        """Return all workers' metrics in Prometheus' text format."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        metrics = generate_latest(self.registry) if folder is None else worker_metrics.render(Path(folder))
        return metrics + generate_latest(self._process_registry)

    def _add_counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _add_histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...] = SECONDS
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _add_gauge(self, name: str, text: str, labels: tuple[str, ...], workers: str = "livesum") -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=workers)  # type: ignore[arg-type]


class ModelMetrics:
    """The metrics of one model version, with the label look-ups done once."""

    def __init__(self, metrics: Metrics, name: str, version: str) -> None:
        key = (name, version)
        self._images = metrics.images.labels(*key)
        self._failures = metrics.failures.labels(*key)
        self._wait = metrics.wait.labels(*key)
        self._forward = metrics.forward.labels(*key)
        self._encode = metrics.encode.labels(*key)
        self._fill = metrics.fill.labels(*key)
        self._queue = metrics.queue.labels(*key)

    def set_waiting(self, num_images: int) -> None:
        """Set how many images wait for a batch."""
        self._queue.set(num_images)

    def record_wait(self, seconds: float) -> None:
        """Record how long a request's first image waited for a batch."""
        self._wait.observe(seconds)

    def record_forward(self, num_images: int, batch_size: int, seconds: float) -> None:
        """Record a minted batch, of at most `batch_size` images."""
        self._images.inc(num_images)
        self._fill.observe(num_images / batch_size)
        self._forward.observe(seconds)

    def record_encode(self, seconds: float) -> None:
        """Record an encoded batch."""
        self._encode.observe(seconds)

    def record_failure(self) -> None:
        """Count a request that failed inside the model."""
        self._failures.inc()


def _find_version(package: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
