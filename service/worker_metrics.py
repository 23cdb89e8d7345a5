"""Adds up the metrics of all worker processes (prometheus_client's multiprocess mode), without models that are gone.

A series in a worker's file cannot be removed: what was said of a version that was withdrawn would be said for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.samples import Sample

# 1 in some worker while it has the version loaded, 0 once all have withdrawn it.
LOADED = "ganmint_model_info"
# 0 while a worker finds the version broken; this is said of versions that are not loaded, too.
GOLDEN = "ganmint_model_golden_ok"
# What is said of a version only while it is loaded.
OF_LOADED = (LOADED, "ganmint_model_padded", "ganmint_queue_images", "ganmint_queue_limit_images")


class _Workers:
    """A collector of all workers' metrics, for prometheus_client's registry."""

    def __init__(self, folder: Path) -> None:
        self._workers = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        metrics = list(self._workers.collect())  # type: ignore[no-untyped-call]
        infos = (sample for metric in metrics if metric.name == LOADED for sample in metric.samples)
        loaded = {_find_version(sample) for sample in infos if sample.value}
        for metric in metrics:
            metric.samples = [sample for sample in metric.samples if _is_current(sample, loaded)]
            yield metric


def render(folder: Path) -> bytes:
    """Return the metrics of the workers that keep their files in a folder, in Prometheus' text format."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            # The gauges of a worker that was killed would count for ever.
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(_Workers(folder))
    return generate_latest(registry)


def _is_current(sample: Sample, loaded: set[tuple[str, str]]) -> bool:
    if sample.name == LOADED:
        return bool(sample.value)
    is_good = sample.name == GOLDEN and sample.value == 1
    return not (sample.name in OF_LOADED or is_good) or _find_version(sample) in loaded


def _find_version(sample: Sample) -> tuple[str, str]:
    return sample.labels["model"], sample.labels["version"]
