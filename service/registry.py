"""Loads models from the store, keeps them loaded, and follows what happens to their files.

A version is served while its files are in the store as they were checked. Every poll looks at the identity of the
files and of the public keys: what is gone, or fails its checks again, is withdrawn. Withdrawn and unloaded versions
finish the requests that they have accepted, because those hold them.
Not here: HTTP (service.routes), what the store holds (service.served_store), loading (service.model_loader).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Sequence

from models import store
from models.errors import ArtifactError, GanmintError
from models.files import FileIdentity
from models.manifest import Manifest
from models.store import StoredModel
from service.device_probe import DeviceProbe
from service.errors import NotReadyError
from service.loaded_model import CheckedFiles, LoadedModel, LoadFailure, ModelKey, make_failure
from service.metrics import Metrics
from service.model_loader import ModelLoader
from service.pending_request import StartTrace
from service.served_store import ServedStore
from service.settings import Settings

log = logging.getLogger("ganmint.service")


class Registry:
    """The loaded models. Used on one event loop.

    Attributes:
        device_probe: whether the device still works; looked at with every poll of the store.
        is_draining: whether the service is about to stop.
    """

    def __init__(self, settings: Settings, metrics: Metrics, start_trace: StartTrace | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._loader = ModelLoader(settings, metrics, start_trace)
        self.device_probe = DeviceProbe(self._loader.device, metrics)
        self._store = ServedStore(settings)
        # The least recently used of the older versions first.
        self._loaded: dict[ModelKey, LoadedModel] = {}
        self._checked: dict[ModelKey, CheckedFiles] = {}
        # The newest version of each name that passed its checks; always loaded.
        self._newest: dict[str, StoredModel] = {}
        self._failures: dict[ModelKey, LoadFailure] = {}
        self._load_tasks: dict[ModelKey, asyncio.Task[LoadedModel]] = {}
        self._poll_task: asyncio.Task[None] | None = None
        self._has_looked = False
        self.is_draining = False

    @property
    def is_ready(self) -> bool:
        """Whether the store was looked through and a model has passed its checks."""
        return self._has_looked and bool(self._newest)

    async def start(self) -> None:
        """Load the newest version of every model that is to be served, then poll the store."""
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
        self._loader.stop()

    async def refresh(self) -> None:
        """Withdraw what is gone or no longer good, then serve the newest version of each name that passes."""
        # What is loaded during the look is left to the next one.
        failures, checked_files = dict(self._failures), dict(self._checked)
        found = await asyncio.to_thread(self._store.look, bool(self._loaded))
        for key, failure in failures.items():
            if self._failures.get(key) is failure and (key not in found or found[key][1] != failure.identity):
                self._forget_failure(key)
        for key, checked in checked_files.items():
            if self._checked.get(key) is not checked:
                continue
            if key not in found:
                self._withdraw(key, "it is no longer in the store")
            elif found[key][1] != checked.identity:
                await self._check_again(*found[key])
        for name in dict.fromkeys(name for name, _ in found):
            versions = [stored for stored, _ in found.values() if stored.name == name]
            try:
                await self._load_newest(versions)
            except GanmintError:
                continue
        for key, failure in list(self._failures.items()):
            # What is needed was tried again just now; the rest is, when it is asked for.
            if failure.is_due:
                self._forget_failure(key)
        self._unload_least_used()
        self._has_looked = True

    async def get(self, name: str, version: str | None = None) -> LoadedModel:
        """Return a model, loading it first if the store has it and it is not loaded yet.

        Args:
            name: the model's name.
            version: default: the newest that passes its checks.

        Raises:
            InputError, ModelNotFoundError, NotReadyError, ArtifactError.
        """
        if version is None and self._has_looked and name in self._newest:
            version = self._newest[name].version
        if version is not None and (name, version) in self._loaded:
            # It was used last, so it comes last.
            model = self._loaded[name, version] = self._loaded.pop((name, version))
            return model
        stored = await self._find(name, version)
        if version is None:
            return await self._load_newest(await asyncio.to_thread(store.list_versions, name))
        model = await self._load(stored)
        self._promote(stored)
        self._unload_least_used()
        return model

    async def get_manifest(self, name: str, version: str | None = None) -> Manifest:
        """Return the manifest of a version whose files are good, without loading it; arguments and errors as `get`."""
        if version is None and self._has_looked and name in self._newest:
            version = self._newest[name].version
        if version is None or (name, version) not in self._checked:
            stored = await self._find(name, version)
            version = stored.version
            await self._check(stored)
        return self._checked[name, version].manifest

    def find_digest(self, name: str, version: str) -> str | None:
        """Return the digest of a version whose files were good at the last look, None for any other."""
        checked = self._checked.get((name, version))
        return checked.digest if checked else None

    def list_newest(self) -> list[LoadedModel]:
        """Return the newest version of each name that passed its checks, sorted by name."""
        return [self._loaded[stored.name, stored.version] for _, stored in sorted(self._newest.items())]

    def list_loaded(self) -> list[LoadedModel]:
        """Return every loaded version, sorted by name and version."""
        return sorted(self._loaded.values(), key=lambda m: (m.manifest.name, store.sort_key(m.manifest.version)))

    def list_load_errors(self) -> dict[ModelKey, GanmintError]:
        """Return the versions that could not be loaded, with the error of each."""
        return {key: failure.error for key, failure in self._failures.items()}

    async def _find(self, name: str, version: str | None) -> StoredModel:
        if version is None and not self._has_looked:
            raise NotReadyError("the models are still being loaded and checked")
        return await asyncio.to_thread(self._store.find, name, version)

    # Following the store

    async def _poll_store(self) -> None:
        while True:
            await asyncio.sleep(self._settings.poll_s)
            await self._refresh_or_log()
            await self.device_probe.check()

    async def _refresh_or_log(self) -> None:
        try:
            await self.refresh()
        except Exception:
            log.exception("looking for models in %s failed", store.get_home())

    # Checking, loading, withdrawing

    async def _check(self, stored: StoredModel) -> None:
        """Read a version's files and check signature and hashes, without loading it; raise what is wrong."""
        key = (stored.name, stored.version)
        await self._raise_known_failure(stored)
        identity = await asyncio.to_thread(self._store.read_identity, stored)
        try:
            files = await asyncio.to_thread(store.read_artifact, stored, self._settings.trust)
        except Exception as cause:
            raise self._record_failure(stored, cause, identity) from None
        self._checked[key] = CheckedFiles(identity, files.digest, files.manifest)

    async def _check_again(self, stored: StoredModel, identity: FileIdentity) -> None:
        """Check a version whose files or keys changed; withdraw it unless they are as good as before."""
        key = (stored.name, stored.version)
        try:
            files = await asyncio.to_thread(store.read_artifact, stored, self._settings.trust)
        except ArtifactError as error:
            self._withdraw(key, str(error))
            self._record_failure(stored, error, identity)
            return
        except Exception as cause:
            log.warning("%s could not be checked again, and is served on until it can: %s", stored, cause)
            return
        if files.digest != self._checked[key].digest:
            self._withdraw(key, "it was replaced")
        else:
            self._checked[key] = dataclasses.replace(self._checked[key], identity=identity)

    async def _load_newest(self, versions: Sequence[StoredModel]) -> LoadedModel:
        """Load the newest of a name's versions that passes its checks; raise the newest one's error if none does."""
        errors: list[GanmintError] = []
        for stored in reversed(versions):
            try:
                model = self._loaded.get((stored.name, stored.version)) or await self._load(stored)
            except GanmintError as error:
                errors.append(error)
                continue
            self._promote(stored)
            return model
        raise errors[0] if errors else NotReadyError("the model was removed just now")

    async def _load(self, stored: StoredModel) -> LoadedModel:
        """Load a version once, however many callers ask; raise the known error while its files are the same."""
        key = (stored.name, stored.version)
        await self._raise_known_failure(stored)
        if key in self._loaded:
            return self._loaded[key]
        if key not in self._load_tasks:
            self._load_tasks[key] = asyncio.create_task(self._load_and_register(stored))
        task = self._load_tasks[key]
        try:
            # Shielded: one cancelled caller must not cancel the loading for the others.
            return await asyncio.shield(task)
        finally:
            if task.done() and self._load_tasks.get(key) is task:
                del self._load_tasks[key]

    async def _raise_known_failure(self, stored: StoredModel) -> None:
        failure = self._failures.get((stored.name, stored.version))
        if (
            failure
            and not failure.is_due
            and await asyncio.to_thread(self._store.read_identity, stored) == failure.identity
        ):
            raise failure.error

    async def _load_and_register(self, stored: StoredModel) -> LoadedModel:
        key = (stored.name, stored.version)
        # Read before the checks, so that files which change meanwhile are checked again.
        identity = await asyncio.to_thread(self._store.read_identity, stored)
        try:
            model = await self._loader.load(stored)
        except Exception as cause:
            raise self._record_failure(stored, cause, identity) from None
        self._failures.pop(key, None)
        self._loaded[key] = model
        self._checked[key] = CheckedFiles(identity, model.digest, model.manifest)
        return model

    def _record_failure(self, stored: StoredModel, cause: Exception, identity: FileIdentity) -> GanmintError:
        key = (stored.name, stored.version)
        failure = make_failure(stored, cause, identity, self._failures.get(key), self._settings.poll_s)
        log.error("%s is not served: %s", stored, cause if str(cause) else repr(cause))
        self._failures[key] = failure
        self._metrics.golden.labels(*key).set(0)
        return failure.error

    def _forget_failure(self, key: ModelKey) -> None:
        """Forget a failure of files that are gone or changed; the next load finds out anew."""
        del self._failures[key]
        self._metrics.forget_model(*key)

    def _promote(self, stored: StoredModel) -> None:
        """Serve a loaded version as its name's newest, if it is."""
        newest = self._newest.get(stored.name)
        if (stored.name, stored.version) not in self._loaded:
            # Unloaded by another task since it was loaded.
            return
        if newest is None or newest.sort_key < stored.sort_key:
            self._newest[stored.name] = stored

    def _withdraw(self, key: ModelKey, reason: str) -> None:
        """Serve a version no longer, and forget what is known of it."""
        del self._checked[key]
        if key in self._loaded:
            log.warning("%s %s is no longer served: %s", *key, reason)
            self._unload(key)

    def _unload_least_used(self) -> None:
        newest = {(stored.name, stored.version) for stored in self._newest.values()}
        older = [key for key in self._loaded if key not in newest]
        for key in older[: max(0, len(older) - self._settings.loaded_models)]:
            log.info("%s %s is unloaded: others were used later", *key)
            self._unload(key)

    def _unload(self, key: ModelKey) -> None:
        """Drop a version; the requests that it has accepted hold it until they are answered."""
        del self._loaded[key]
        name, version = key
        if name in self._newest and self._newest[name].version == version:
            del self._newest[name]
        self._metrics.forget_model(*key)
