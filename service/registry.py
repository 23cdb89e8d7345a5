"""The models that are loaded, and the ones that could be.

Knows: which models the settings ask for, how one is loaded, checked and warmed off the event loop,
and how new versions in the store are noticed. Does not know: HTTP, batching, encoding.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models import artifact, images, manifest, signing, store
from models.address import check_name, check_version
from models.errors import ArtifactError, GanmintError, ModelNotFoundError
from models.manifest import Manifest
from models.sampler import Sampler, resolve_device
from models.store import StoredModel
from service.batcher import Batcher
from service.errors import NotReadyError
from service.metrics import Metrics, ModelMetrics
from service.settings import Settings

log = logging.getLogger("ganmint.service")
Key = tuple[str, str]


@dataclass(frozen=True)
class LoadedModel:
    """One loaded version: its card, its queue, and what its bytes depend on."""

    manifest: Manifest
    digest: str
    fingerprint: str
    batcher: Batcher


class Registry:
    """Loads models from the store and hands them out. Lives on one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._device = resolve_device(settings.device)
        if settings.trusted_key:
            signing.check_key(settings.trusted_key)
        # One thread each for all models: two forwards at once would only share the same cores.
        self._forward = ThreadPoolExecutor(1, "ganmint-forward")
        self._encoder = ThreadPoolExecutor(1, "ganmint-encode")
        self._served: dict[Key, LoadedModel] = {}
        self._broken: dict[Key, tuple[GanmintError, tuple[int, ...]]] = {}
        self._newest: dict[str, StoredModel] = {}
        self._loading: dict[Key, asyncio.Task[LoadedModel]] = {}
        self._poll: asyncio.Task[None] | None = None
        self.ready = False
        self.draining = False

    async def start(self) -> None:
        """Load the newest version of every wanted model, then keep looking for new ones."""
        await self._refresh_safely()
        if not self.ready:
            log.error("no model could be loaded from %s", store.home())
        self._poll = asyncio.create_task(self._keep_fresh())

    def drain(self) -> None:
        """From now on not ready, but still serving."""
        self.draining = True

    async def stop(self) -> None:
        """Stop looking for new versions and end the threads."""
        if self._poll:
            self._poll.cancel()
        self._forward.shutdown(wait=False)
        self._encoder.shutdown(wait=False)

    async def refresh(self) -> None:
        """Notice new names and versions in the store, and load those that are newest."""
        newest = await asyncio.to_thread(self._look)
        for name, stored in newest.items():
            key = (stored.name, stored.version)
            if key not in self._served:
                try:
                    await self._load(stored)
                except GanmintError:
                    continue
            self._newest[name] = stored
        self.ready = bool(self._served)

    async def get(self, name: str, version: str | None = None) -> LoadedModel:
        """A loaded model; one that the store has and that is not loaded yet is loaded first.

        Raises: ModelNotFoundError, NotReadyError, ArtifactError.
        """
        if version is None and name in self._newest:
            version = self._newest[name].version
        if version is not None and (name, version) in self._served:
            return self._served[name, version]
        check_name(name)
        if version is not None:
            check_version(version)
        if not self.ready:
            raise NotReadyError("the models are still being loaded and checked")
        if self._settings.names and name not in self._settings.names:
            raise ModelNotFoundError(f"there is no model {name!r}; there are: {', '.join(self._newest) or 'none'}")
        stored = await asyncio.to_thread(store.find, name, version)
        served = await self._load(stored)
        if name not in self._newest or self._newest[name].sort_key < stored.sort_key:
            self._newest[name] = stored
        return served

    def newest(self) -> list[LoadedModel]:
        """The newest loaded version of each name, by name."""
        return [self._served[s.name, s.version] for _, s in sorted(self._newest.items())]

    def broken(self) -> dict[Key, GanmintError]:
        """The versions that failed their checks, and why."""
        return {key: error for key, (error, _) in self._broken.items()}

    def _look(self) -> dict[str, StoredModel]:
        wanted = self._settings.names
        return {name: store.versions(name)[-1] for name in store.names() if not wanted or name in wanted}

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_s)
            await self._refresh_safely()
            if self._device.startswith("cuda"):
                self._metrics.gpu_memory.labels(self._device).set(torch.cuda.memory_reserved(self._device))

    async def _refresh_safely(self) -> None:
        try:
            await self.refresh()
        except Exception:
            log.exception("looking for models in %s failed", store.home())

    async def _load(self, stored: StoredModel) -> LoadedModel:
        key = (stored.name, stored.version)
        if key in self._broken:
            error, folder = self._broken[key]
            # An installation over a damaged one makes a new folder, signing makes a new file.
            if _identity(stored) == folder:
                raise error
        if key not in self._loading:
            self._loading[key] = asyncio.create_task(self._load_checked(stored))
        try:
            # One caller going away must not cancel the loading for the others.
            return await asyncio.shield(self._loading[key])
        finally:
            if (task := self._loading.get(key)) and task.done():
                del self._loading[key]

    async def _load_checked(self, stored: StoredModel) -> LoadedModel:
        key = (stored.name, stored.version)
        # Before the checks: what is changed while they run is looked at again.
        identity = _identity(stored)
        try:
            sampler = await asyncio.to_thread(_load_and_warm, stored, self._device, self._settings.trusted_key)
        except Exception as cause:
            error = (
                cause if isinstance(cause, GanmintError) else ArtifactError(stored.path, f"cannot be loaded: {cause}")
            )
            log.error("%s is not served: %s", stored, error)
            self._broken[key] = (error, identity)
            self._metrics.golden.labels(*key).set(0)
            raise error from None
        self._broken.pop(key, None)
        digest = artifact.digest(stored.path)
        self._served[key] = served = LoadedModel(
            sampler.manifest, digest, sampler.fingerprint, self._batcher(sampler, key)
        )
        self._metrics.golden.labels(*key).set(1)
        self._metrics.limit.labels(*key).set(self._settings.queue_images)
        self._metrics.info.labels(*key, digest[:12], self._device, str(sampler.batch_size)).set(1)
        log.info("serving %s (%s) on %s", stored, digest[:12], sampler.fingerprint)
        return served

    def _batcher(self, sampler: Sampler, key: Key) -> Batcher:
        return Batcher(
            sampler.mint,
            images.encode,
            sampler.batch_size,
            self._settings.queue_images,
            self._forward,
            self._encoder,
            ModelMetrics(self._metrics, *key),
        )


def _load_and_warm(stored: StoredModel, device: str, trusted_key: Path | None) -> Sampler:
    """Goldens warm the forward; Pillow reads its encoders from disk when each is first used."""
    if trusted_key:
        signing.verify(stored.path, trusted_key)
    card = manifest.read(stored.path)
    # Else an old version could come again as the newest, signature and all.
    if (card.name, card.version) != (stored.name, stored.version):
        raise ArtifactError(stored.path, f"holds {card.name} {card.version}, whatever the folder is called")
    sampler = artifact.load(stored.path, device)
    shape = sampler.manifest.image
    blank = np.zeros((shape.height, shape.width, shape.channels), np.uint8)
    for media_type in images.MEDIA_TYPES:
        images.encode(blank, media_type, "warm")
    return sampler


def _identity(stored: StoredModel) -> tuple[int, ...]:
    """Another one when the folder was replaced, or signed; an inode alone may be used again."""
    found: list[int] = []
    for path in (stored.path, stored.path / signing.SIGNATURE):
        try:
            status = path.stat()
        except OSError:
            continue
        found += status.st_ino, status.st_ctime_ns
    return tuple(found)
