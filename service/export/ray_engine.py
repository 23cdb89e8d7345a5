"""Make the shards of an export on a Ray cluster: one task per shard.

Ray schedules the tasks, and runs a task again whose worker was lost. Not here: how a shard is made
(service.export.worker).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

from models import artifact
from models.artifact_files import ArtifactFiles
from models.errors import ExportError, InputError, first_line
from models.sampler import Sampler
from service.export import worker
from service.export.plan import ExportSpec, Shard
from service.export.progress import ExportProgressBar
from service.export.run import ExportRequest, one_thread, read_model
from service.export.target import Target

# The run gives up when a shard has lost its worker this many times.
RETRIES = 5
# Encoding keeps a processor busy for longer than the GPU: so many tasks share one.
TASKS_PER_GPU = 8
# Waiting tasks beyond this would only fill Ray's tables.
IN_FLIGHT_PER_CPU = 2

_samplers: dict[tuple[str, str], Sampler] = {}


class RayEngine:
    """An engine for `service.export.run`.

    Args: address: of a cluster, as ray.init takes it; None: RAY_ADDRESS, or a Ray on this machine alone.
        workers: processors of a Ray on this machine; None: all.
    Raises: InputError when Ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise InputError("ray needs another package: pip install '.[ray]' (in the checkout)", "--engine") from None
        self._ray: Any = ray
        self._address = address
        self._workers = workers

    def __call__(self, request: ExportRequest, shards: Sequence[Shard], progress: ExportProgressBar) -> None:
        """Make the shards.

        Raises: ExportError.
        """
        ray, mine = self._ray, not self._ray.is_initialized()
        if mine:
            self._connect()
        try:
            self._make(request, shards, progress)
        finally:
            if mine:
                ray.shutdown()

    def _connect(self) -> None:
        address = self._address or os.environ.get("RAY_ADDRESS")
        options: dict[str, Any] = (
            {"address": address} if address else {"num_cpus": self._workers, "include_dashboard": False}
        )
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        # Where it takes too long to start, Ray raises a bare Exception.
        except Exception as error:
            raise ExportError(address or "Ray", f"cannot be reached: {error}") from None
        # Ray has replaced it.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)

    def _make(self, request: ExportRequest, shards: Sequence[Shard], progress: ExportProgressBar) -> None:
        ray = self._ray
        resources = ray.cluster_resources()
        gpus = resources.get("GPU", 0) if request.device != "cpu" else 0
        if request.device.startswith("cuda") and not gpus:
            raise InputError("the Ray cluster has no GPU", "--device")
        device = "cuda" if gpus else "cpu"
        options = {"num_cpus": 1, "num_gpus": 1 / TASKS_PER_GPU if gpus else 0, "max_retries": RETRIES}
        task = ray.remote(**options)(run_task)
        # Read and checked here alone: the cluster's machines have neither the store nor its keys.
        model = ray.put(read_model(request))
        window = max(1, int(resources.get("CPU", 1))) * IN_FLIGHT_PER_CPU
        # The tasks run in other folders, on other machines.
        url = Target(request.url).absolute_url
        waiting: list[Shard] = list(reversed(shards))
        under_way: list[Any] = []
        try:
            while waiting or under_way:
                while waiting and len(under_way) < window:
                    under_way.append(task.remote(url, request.spec, model, device, waiting.pop()))
                done, under_way = ray.wait(under_way, timeout=1.0)
                for reference in done:
                    progress.add(*self._result(reference))
                    progress.add_shards(1)
        finally:
            for reference in under_way:
                ray.cancel(reference, force=True)

    def _result(self, reference: Any) -> tuple[int, int]:
        try:
            result: tuple[int, int] = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            # Without Ray's own stack trace in the message.
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            raise ExportError("Ray", f"a task failed: {first_line(error)}") from None
        return result


def run_task(url: str, spec: ExportSpec, model: ArtifactFiles, device: str, shard: Shard) -> tuple[int, int]:
    """A task: make and commit one shard; returns its images and bytes."""
    key = (spec.model_digest, device)
    if key not in _samplers:
        _samplers[key] = artifact.load_files(model, device)
    with one_thread(_samplers[key]):
        commit = worker.make_shard(_samplers[key], Target(url), spec, shard)
    return commit.count, commit.bytes
