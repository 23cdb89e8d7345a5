"""Reports processor time, memory and open files of the whole service: BentoML's arbiter and its workers together.

prometheus_client's own collector knows only the worker that happens to be asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service import lifecycle


class ServiceProcessCollector(Collector):
    """Sums over the service's processes, under the names that every Prometheus client uses."""

    def collect(self) -> Iterator[Metric]:
        """Read the processes' figures. A process that ends meanwhile is left out."""
        cpu_s, memory_bytes, num_files, max_files, started_at = 0.0, 0, 0, 0, float("inf")
        for process in _list_processes():
            with suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                # With what ended children used, so that the sum never falls when a worker is replaced.
                cpu_s += times.user + times.system + times.children_user + times.children_system
                memory_bytes += process.memory_info().rss
                num_files += process.num_fds()
                max_files += process.rlimit(psutil.RLIMIT_NOFILE)[0] if psutil.LINUX else 0
                started_at = min(started_at, process.create_time())
        yield CounterMetricFamily("process_cpu_seconds", "Processor time of all processes of the service.", cpu_s)
        for name, text, value in (
            (
                "process_resident_memory_bytes",
                "Resident memory of all processes, shared pages counted in each.",
                memory_bytes,
            ),
            ("process_open_fds", "Open files of all processes.", num_files),
            ("process_max_fds", "Most files that they may open.", max_files),
            ("process_start_time_seconds", "When the first process started, in Unix time.", started_at),
        ):
            yield GaugeMetricFamily(name, text, value)


def _list_processes() -> list[psutil.Process]:
    """Return the arbiter and its workers; without an arbiter, this process."""
    own = psutil.Process(os.getpid())
    with suppress(psutil.Error):
        if lifecycle.has_arbiter() and (arbiter := own.parent()):
            return [arbiter, *arbiter.children()]
    return [own]
