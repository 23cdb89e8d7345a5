"""Load a version of a model and make it ready to serve: checked, warmed, with a queue, recorded.

Not here: which versions are loaded (service.registry), what is known of each (service.loaded_model).
"""

from __future__ import annotations

import asyncio
import logging

import numpy as np

from models import artifact, images, store
from models.artifact_files import ArtifactFiles
from models.runtime.loading import resolve_device
from models.sampler import Sampler
from models.store import StoredModel
from service.batcher import Batcher
from service.loaded_model import LoadedModel, ModelKey
from service.metrics import Metrics, ModelMetrics
from service.pending_request import StartTrace
from service.settings import Settings
from service.worker_thread import WorkerThread

log = logging.getLogger("ganmint.service")


class ModelLoader:
    """Loads models. Used on one event loop; all loaded models share its threads.

    Attributes:
        device: what the models run on, as torch names it.
    """

    def __init__(self, settings: Settings, metrics: Metrics, start_trace: StartTrace | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._start_trace = start_trace
        self.device = _resolve_device(settings)
        # One thread each for all models: two forwards at once would share the same cores.
        self._forward_thread = WorkerThread("ganmint-forward")
        self._encode_thread = WorkerThread("ganmint-encode")

    async def load(self, stored: StoredModel) -> LoadedModel:
        """Load a version and check its signature, hashes and goldens; raise whatever is wrong with it."""
        key = (stored.name, stored.version)
        files, sampler = await asyncio.to_thread(self._load_and_warm, stored)
        model = LoadedModel(
            manifest=sampler.manifest,
            digest=files.digest,
            fingerprint=sampler.fingerprint,
            runtime=sampler.runtime.name,
            batch_size=sampler.batch_size,
            is_padded=sampler.runtime.needs_padding,
            batcher=self._make_batcher(sampler, key),
        )
        self._record(model, key)
        return model

    def stop(self) -> None:
        """End the threads."""
        self._forward_thread.stop()
        self._encode_thread.stop()

    def _load_and_warm(self, stored: StoredModel) -> tuple[ArtifactFiles, Sampler]:
        """Load and check. The goldens warm the forward; an image of each format warms Pillow's encoders."""
        files = store.read_artifact(stored, self._settings.trust)
        sampler = artifact.load_files(files, self.device, self._settings.runtime)
        if sampler.runtime.name == "torchscript":
            from models.runtime import torchscript

            torchscript.limit_threads()
        shape = sampler.manifest.image
        blank = np.zeros((shape.height, shape.width, shape.channels), np.uint8)
        for media_type in images.MEDIA_TYPES:
            images.encode(blank, media_type, "warm")
        return files, sampler

    def _make_batcher(self, sampler: Sampler, key: ModelKey) -> Batcher:
        return Batcher(
            mint=sampler.mint,
            encode=images.encode,
            batch_size=sampler.batch_size,
            is_padded=sampler.runtime.needs_padding,
            queue_images=self._settings.queue_images,
            forward_thread=self._forward_thread,
            encode_thread=self._encode_thread,
            metrics=ModelMetrics(self._metrics, *key),
            start_trace=self._start_trace,
        )

    def _record(self, model: LoadedModel, key: ModelKey) -> None:
        digest = model.digest[:12]
        info = (digest, self.device, model.runtime, str(model.batch_size))
        self._metrics.record_loaded(*key, self._settings.queue_images, model.is_padded, *info)
        log.info(
            "serving %s %s (%s) by %s, %s, on %s",
            *key,
            digest,
            model.runtime,
            f"every batch filled up to {model.batch_size}"
            if model.is_padded
            else f"batches of 1 to {model.batch_size}",
            model.fingerprint,
        )


def _resolve_device(settings: Settings) -> str:
    """Return the device; the onnx runtime has only the CPU."""
    if settings.runtime == "onnx" and settings.device == "auto":
        return "cpu"
    return resolve_device(settings.device)
