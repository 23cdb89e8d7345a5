"""Loads models from the store, keeps them loaded, and notices new versions.

Not here: HTTP (service.routes), the store itself (models.store).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import numpy as np

from models import artifact, images, signing, store
from models.address import check_name, check_version
from models.errors import ArtifactError, GanmintError, ModelNotFoundError
from models.manifest import Manifest
from models.runtime.loading import resolve_device
from models.sampler import Sampler
from models.store import StoredModel
from service.batcher import Batcher
from service.errors import NotReadyError
from service.metrics import Metrics, ModelMetrics
from service.settings import Settings
from service.worker_thread import WorkerThread

log = logging.getLogger("ganmint.service")
# Name and version.
ModelKey = tuple[str, str]
# Inode and change time of the model's folder, then of its signature.
FileIdentity = tuple[int, ...]


@dataclass(frozen=True)
class LoadedModel:
    """One loaded version.

    Attributes:
        manifest: its manifest.
        digest: hash of the artifact, which its images' bytes depend on.
        fingerprint: runtime and processor, which they depend on, too.
        runtime: the runtime's name, onnx or torchscript.
        batch_size: the most images of a batch.
        is_padded: whether every batch is filled up, because an image's bits depend on its batch here.
        batcher: its queue.
    """

    manifest: Manifest
    digest: str
    fingerprint: str
    runtime: str
    batch_size: int
    is_padded: bool
    batcher: Batcher


class Registry:
    """The loaded models. Used on one event loop.

    Attributes:
        is_ready: whether a model is loaded and has passed its checks.
        is_draining: whether the service is about to stop.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._device = _resolve_device(settings)
        signing.check_keys(settings.trust.keys)
        # One thread each for all models: two forwards at once would share the same cores.
        self._forward_thread = WorkerThread("ganmint-forward")
        self._encode_thread = WorkerThread("ganmint-encode")
        self._loaded: dict[ModelKey, LoadedModel] = {}
        self._newest: dict[str, StoredModel] = {}
        self._load_tasks: dict[ModelKey, asyncio.Task[LoadedModel]] = {}
        self._load_errors: dict[ModelKey, tuple[GanmintError, FileIdentity]] = {}
        self._poll_task: asyncio.Task[None] | None = None
        self.is_ready = False
        self.is_draining = False

    async def start(self) -> None:
        """Load the newest version of every model that is to be served, then poll the store for new ones."""
        await self._refresh_or_log()
        if not self.is_ready:
            log.error("no model could be loaded from %s", store.get_home())
        self._poll_task = asyncio.create_task(self._poll_store())

    def drain(self) -> None:
        """Report not ready from now on, but keep serving."""
        self.is_draining = True

    async def stop(self) -> None:
        """Stop polling the store and end the threads."""
        if self._poll_task:
            self._poll_task.cancel()
        self._forward_thread.stop()
        self._encode_thread.stop()

    async def refresh(self) -> None:
        """Look for new names and versions in the store, and load those that are newest."""
        newest = await asyncio.to_thread(self._find_newest)
        for name, stored in newest.items():
            if (stored.name, stored.version) not in self._loaded:
                try:
                    await self._load(stored)
                except GanmintError:
                    continue
            self._newest[name] = stored
        self.is_ready = bool(self._loaded)

    async def get(self, name: str, version: str | None = None) -> LoadedModel:
        """Return a model, loading it first if the store has it and it is not loaded yet.

        Args:
            name: the model's name.
            version: default: the newest.

        Raises:
            InputError, ModelNotFoundError, NotReadyError, ArtifactError.
        """
        if version is None and name in self._newest:
            version = self._newest[name].version
        if version is not None and (name, version) in self._loaded:
            return self._loaded[name, version]
        check_name(name)
        if version is not None:
            check_version(version)
        if not self.is_ready:
            raise NotReadyError("the models are still being loaded and checked")
        if self._settings.names and name not in self._settings.names:
            names = ", ".join(self._newest) or "none"
            raise ModelNotFoundError(f"there is no model {name!r}; there are: {names}")
        stored = await asyncio.to_thread(store.find_version, name, version)
        model = await self._load(stored)
        if name not in self._newest or self._newest[name].sort_key < stored.sort_key:
            self._newest[name] = stored
        return model

    def list_newest(self) -> list[LoadedModel]:
        """Return the newest loaded version of each name, sorted by name."""
        return [self._loaded[stored.name, stored.version] for _, stored in sorted(self._newest.items())]

    def list_loaded(self) -> list[LoadedModel]:
        """Return every loaded version, sorted by name, then in the order of loading."""
        return sorted(self._loaded.values(), key=lambda model: model.manifest.name)

    def list_load_errors(self) -> dict[ModelKey, GanmintError]:
        """Return the versions that failed their checks, with the error of each."""
        return {key: error for key, (error, _) in self._load_errors.items()}

    def _find_newest(self) -> dict[str, StoredModel]:
        """Read the newest version of each name from the store."""
        names = [name for name in store.list_names() if not self._settings.names or name in self._settings.names]
        return {name: store.list_versions(name)[-1] for name in names}

    async def _poll_store(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_s)
            await self._refresh_or_log()
            if self._device.startswith("cuda"):
                self._record_gpu_memory()

    def _record_gpu_memory(self) -> None:
        from models.runtime import torchscript

        self._metrics.gpu_memory.labels(self._device).set(torchscript.get_reserved_bytes(self._device))

    async def _refresh_or_log(self) -> None:
        try:
            await self.refresh()
        except Exception:
            log.exception("looking for models in %s failed", store.get_home())

    async def _load(self, stored: StoredModel) -> LoadedModel:
        """Load a version once, however many callers ask; raise the known error while its files are the same."""
        key = (stored.name, stored.version)
        if key in self._load_errors:
            error, identity = self._load_errors[key]
            # Reinstalling a damaged model makes a new folder; signing it makes a new file.
            if _read_file_identity(stored) == identity:
                raise error
        if key not in self._load_tasks:
            self._load_tasks[key] = asyncio.create_task(self._load_and_register(stored))
        task = self._load_tasks[key]
        try:
            # Shielded: one cancelled caller must not cancel the loading for the others.
            return await asyncio.shield(task)
        finally:
            if task.done() and self._load_tasks.get(key) is task:
                del self._load_tasks[key]

    async def _load_and_register(self, stored: StoredModel) -> LoadedModel:
        key = (stored.name, stored.version)
        # Read before the checks, so that files which change meanwhile are checked again.
        identity = _read_file_identity(stored)
        try:
            sampler = await asyncio.to_thread(_load_and_warm, stored, self._device, self._settings)
        except Exception as cause:
            reason = f"cannot be loaded: {cause}"
            error = cause if isinstance(cause, GanmintError) else ArtifactError(stored.path, reason)
            log.error("%s is not served: %s", stored, error)
            self._load_errors[key] = (error, identity)
            self._metrics.golden.labels(*key).set(0)
            raise error from None
        self._load_errors.pop(key, None)
        model = LoadedModel(
            manifest=sampler.manifest,
            digest=artifact.digest(stored.path),
            fingerprint=sampler.fingerprint,
            runtime=sampler.runtime.name,
            batch_size=sampler.batch_size,
            is_padded=sampler.runtime.needs_padding,
            batcher=self._make_batcher(sampler, key),
        )
        self._loaded[key] = model
        self._record_loaded(model, key)
        return model

    def _record_loaded(self, model: LoadedModel, key: ModelKey) -> None:
        digest = model.digest[:12]
        self._metrics.golden.labels(*key).set(1)
        self._metrics.limit.labels(*key).set(self._settings.queue_images)
        self._metrics.info.labels(*key, digest, self._device, model.runtime, str(model.batch_size)).set(1)
        self._metrics.padded.labels(*key).set(model.is_padded)
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
        )


def _resolve_device(settings: Settings) -> str:
    """Return the device; the onnx runtime has only the CPU."""
    if settings.runtime == "onnx" and settings.device == "auto":
        return "cpu"
    return resolve_device(settings.device)


def _load_and_warm(stored: StoredModel, device: str, settings: Settings) -> Sampler:
    """Load a model and check it. Its goldens warm the forward; an image of each format warms Pillow's encoders."""
    sampler = artifact.load_files(store.read_artifact(stored, settings.trust), device, settings.runtime)
    if sampler.runtime.name == "torchscript":
        from models.runtime import torchscript

        torchscript.limit_threads()
    shape = sampler.manifest.image
    blank = np.zeros((shape.height, shape.width, shape.channels), np.uint8)
    for media_type in images.MEDIA_TYPES:
        images.encode(blank, media_type, "warm")
    return sampler


def _read_file_identity(stored: StoredModel) -> FileIdentity:
    """Read what changes when the folder is replaced or signed; an inode alone may be reused."""
    identity: list[int] = []
    for path in (stored.path, stored.path / signing.SIGNATURE):
        try:
            status = path.stat()
        except OSError:
            continue
        identity += [status.st_ino, status.st_ctime_ns]
    return tuple(identity)
