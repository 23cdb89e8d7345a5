"""The life of a model in the service: what is loaded, what takes its place, what is withdrawn, what is forgotten."""

from __future__ import annotations

import asyncio
import errno
import gc
import shutil
import threading
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest
from fastapi import FastAPI

from models import artifact, signing, store
from models.manifest import dump_manifest, read_manifest
from models.sampler import Sampler
from models.store import StoredModel
from service.app import create_app
from service.model_loader import ModelLoader
from service.registry import Registry
from service.settings import Settings
from tests.model_copies import install_copy
from tests.service.app_client import connect, wait_for_readyz, wait_until_ready
from tests.signing_keys import Keys, make_key_pair
from tests.waiting import wait_until_async

Scenario = Callable[[httpx.AsyncClient, Registry], Awaitable[None]]
OLD, NEW = "/v1/images/tiny/1.0.0/7/0.png", "/v1/images/tiny/2.0.0/7/0.png"


@pytest.fixture
def versions(store_home: Path, tiny_artifact: Path, tmp_path: Path) -> dict[str, StoredModel]:
    """Versions 1.0.0 and 2.0.0 of tiny in the store."""
    return {
        "1.0.0": store.install(tiny_artifact),
        "2.0.0": install_copy(tiny_artifact, tmp_path / "tiny2", version="2.0.0"),
    }


def run(scenario: Scenario, waits: bool = True, **settings: Any) -> None:
    """Run a scenario against a service that looks at the store only when it is told to."""

    async def main() -> None:
        app: FastAPI = create_app(Settings(device="cpu", **{"poll_s": 86400, **settings}))
        async with connect(app) as client:
            if waits:
                await wait_until_ready(client)
            await scenario(client, app.state.registry)

    asyncio.run(main())


def damage(stored: StoredModel) -> bytes:
    """Change a byte of a file; returns the good content."""
    path = stored.path / artifact.SCRIPT
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"?")
    return good


async def read_golden_ok(client: httpx.AsyncClient, version: str) -> str | None:
    """Return the value of the metric, None where there is none."""
    series = f'ganmint_model_golden_ok{{model="tiny",version="{version}"}} '
    lines = (await client.get("/metrics")).text.splitlines()
    return next((line.removeprefix(series) for line in lines if line.startswith(series)), None)


async def read_broken(client: httpx.AsyncClient) -> list[str]:
    return [f"{row['model']}/{row['version']}" for row in (await client.get("/v1/models")).json()["broken"]]


async def mint_newest(client: httpx.AsyncClient) -> str:
    """Return the version that answers a request without one."""
    response = await client.post("/generate", json={"model": "tiny"})
    assert response.status_code == 200, response.text
    return str(response.json()["version"])


# A broken newest version


def test_the_newest_version_that_passes_is_served_after_a_restart(
    versions: dict[str, StoredModel], caplog: pytest.LogCaptureFixture
) -> None:
    damage(versions["2.0.0"])

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        ready = (await client.get("/readyz")).json()
        assert (ready["models"], ready["broken"]) == (["tiny/1.0.0"], ["tiny/2.0.0"])
        assert await mint_newest(client) == "1.0.0"
        assert (await client.get("/v1/models/tiny")).json()["version"] == "1.0.0"
        assert (await client.get(OLD)).status_code == 200
        assert (await client.get(NEW)).status_code == 503
        assert await read_broken(client) == ["tiny/2.0.0"]
        assert (await read_golden_ok(client, "2.0.0"), await read_golden_ok(client, "1.0.0")) == ("0.0", "1.0")

    run(scenario)
    assert "tiny 2.0.0 is not served: " in caplog.text


def test_an_older_version_loads_while_nothing_is_ready_yet(
    versions: dict[str, StoredModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    read_artifact = store.read_artifact

    def read_slowly(stored: StoredModel, *arguments: Any) -> Any:
        if stored.version == "2.0.0":
            let_go.wait()
        return read_artifact(stored, *arguments)

    monkeypatch.setattr(store, "read_artifact", read_slowly)

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        try:
            assert (await client.get(OLD)).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.post("/generate", json={"model": "tiny"})).status_code == 503
        finally:
            let_go.set()
        await wait_until_ready(client)
        assert await mint_newest(client) == "2.0.0"

    run(scenario, waits=False)


# Withdrawal


def remove(stored: StoredModel, keys: Keys) -> None:
    shutil.rmtree(stored.path)


def change(stored: StoredModel, keys: Keys) -> None:
    damage(stored)


def unsign(stored: StoredModel, keys: Keys) -> None:
    (stored.path / signing.SIGNATURE).unlink()


def sign_by_another(stored: StoredModel, keys: Keys) -> None:
    signing.sign(stored.path, make_key_pair(keys[0].parent / "stranger")[0])


@pytest.mark.parametrize("withdraw", [remove, change, unsign, sign_by_another])
@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_a_withdrawn_version_is_served_no_longer(
    versions: dict[str, StoredModel],
    tmp_path: Path,
    version: str,
    withdraw: Callable[[StoredModel, Keys], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = make_key_pair(tmp_path / "keys")
    for stored in versions.values():
        signing.sign(stored.path, keys[0])
    url, other = (OLD, NEW) if version == "1.0.0" else (NEW, OLD)

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        # Both are loaded, and their images are in the cache.
        assert {(await client.get(path)).status_code for path in (OLD, NEW)} == {200}
        withdraw(versions[version], keys)
        await registry.refresh()
        status = 404 if withdraw is remove else 503
        assert (await client.get(url)).status_code == status
        assert (await client.get(f"/v1/models/tiny/{version}")).status_code == status
        assert (await client.post("/generate", json={"model": "tiny", "version": version})).status_code == status
        assert (await client.get(other)).status_code == 200
        assert await mint_newest(client) != version
        assert await read_broken(client) == ([] if withdraw is remove else [f"tiny/{version}"])
        assert await read_golden_ok(client, version) == (None if withdraw is remove else "0.0")

    run(scenario, require_signed=True, public_key=str(keys[1]))
    assert f"tiny {version} is no longer served: " in caplog.text


def test_a_key_that_is_taken_away_withdraws_what_it_signed(versions: dict[str, StoredModel], tmp_path: Path) -> None:
    old, new = make_key_pair(tmp_path / "old"), make_key_pair(tmp_path / "new")
    trusted = tmp_path / "trusted.pub"
    trusted.write_bytes(old[1].read_bytes())
    signing.sign(versions["1.0.0"].path, old[0])
    signing.sign(versions["2.0.0"].path, old[0])

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        assert {(await client.get(path)).status_code for path in (OLD, NEW)} == {200}
        loaded = [await registry.get("tiny", version) for version in versions]
        # Both keys are trusted for a while; what is signed again stays loaded.
        trusted.write_bytes(old[1].read_bytes() + new[1].read_bytes())
        signing.sign(versions["1.0.0"].path, new[0])
        await registry.refresh()
        assert [await registry.get("tiny", version) for version in versions] == loaded
        # A key that cannot be read takes nothing down.
        trusted.write_bytes(b"half a k")
        await registry.refresh()
        assert await mint_newest(client) == "2.0.0"
        trusted.write_bytes(new[1].read_bytes())
        await registry.refresh()
        assert ((await client.get(OLD)).status_code, (await client.get(NEW)).status_code) == (200, 503)
        assert await mint_newest(client) == "1.0.0"

    run(scenario, require_signed=True, public_key=str(trusted))


def test_a_version_that_is_replaced_is_loaded_anew_and_not_answered_from_the_cache(
    versions: dict[str, StoredModel],
) -> None:
    folder = versions["2.0.0"].path

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        before = await client.get(NEW)
        manifest = read_manifest(folder).model_copy(update={"description": "Another artifact."})
        (folder / "manifest.json").write_bytes(dump_manifest(manifest))
        await registry.refresh()
        after = await client.get(NEW)
        assert after.status_code == 200 and after.headers["etag"] != before.headers["etag"]
        assert (await client.get("/v1/models/tiny/2.0.0")).json()["description"] == "Another artifact."
        assert await mint_newest(client) == "2.0.0"

    run(scenario)


def test_a_withdrawn_version_finishes_what_it_has_accepted(
    versions: dict[str, StoredModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_minting, let_go = threading.Event(), threading.Event()
    mint = Sampler.mint

    def mint_slowly(*arguments: Any, **keywords: Any) -> Any:
        is_minting.set()
        let_go.wait()
        return mint(*arguments, **keywords)

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        batcher = weakref.ref((await registry.get("tiny", "2.0.0")).batcher)
        monkeypatch.setattr(Sampler, "mint", mint_slowly)
        requests = [asyncio.create_task(client.post("/generate", json={"model": "tiny", "n": 9})) for _ in range(3)]
        await asyncio.to_thread(is_minting.wait)
        monkeypatch.setattr(Sampler, "mint", mint)
        shutil.rmtree(versions["2.0.0"].path)
        refresh = asyncio.create_task(registry.refresh())
        await wait_until_async(lambda: has_unloaded(registry, "2.0.0"), "2.0.0 is unloaded")
        let_go.set()
        await refresh
        for response in await asyncio.gather(*requests):
            assert (response.status_code, response.json()["version"]) == (200, "2.0.0")
        await wait_until_async(lambda: is_freed(batcher), "the queue is freed")

    try:
        # So that the sampler's own method is looked up at each call.
        monkeypatch.setattr(ModelLoader, "_make_batcher", patched_make_batcher(ModelLoader._make_batcher))
        run(scenario)
    finally:
        let_go.set()


def patched_make_batcher(make: Callable[..., Any]) -> Callable[..., Any]:
    def make_batcher(loader: ModelLoader, sampler: Sampler, key: tuple[str, str]) -> Any:
        batcher = make(loader, sampler, key)
        batcher._mint = lambda *arguments, **keywords: Sampler.mint(sampler, *arguments, **keywords)
        return batcher

    return make_batcher


async def is_freed(reference: weakref.ref[Any]) -> bool:
    gc.collect()
    return reference() is None


async def has_unloaded(registry: Registry, version: str) -> bool:
    return version not in [model.manifest.version for model in registry.list_loaded()]


def test_a_volume_that_is_away_withdraws_nothing(
    versions: dict[str, StoredModel], store_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        (store_home / "models").rename(store_home / "away")
        await registry._refresh_or_log()
        assert await mint_newest(client) == "2.0.0"
        (store_home / "away").rename(store_home / "models")
        await registry._refresh_or_log()
        assert await mint_newest(client) == "2.0.0"

    run(scenario)
    assert "has no model store any more" in caplog.text


# Recovery


@pytest.mark.parametrize("is_removed", [False, True])
def test_what_is_mended_in_place_or_removed_is_broken_no_longer(
    versions: dict[str, StoredModel], is_removed: bool
) -> None:
    good = damage(versions["2.0.0"])

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        await registry.refresh()
        assert (await read_broken(client), await read_golden_ok(client, "2.0.0")) == (["tiny/2.0.0"], "0.0")
        if is_removed:
            shutil.rmtree(versions["2.0.0"].path)
        else:
            (versions["2.0.0"].path / artifact.SCRIPT).write_bytes(good)
        await registry.refresh()
        assert await read_broken(client) == []
        assert await read_golden_ok(client, "2.0.0") == (None if is_removed else "1.0")
        assert await mint_newest(client) == ("1.0.0" if is_removed else "2.0.0")

    run(scenario)


@pytest.mark.parametrize("where", ["load", "read"])
@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.EMFILE, "Too many open files"), RuntimeError("CUDA out of memory")],
    ids=["memory", "files", "gpu"],
)
def test_what_may_pass_is_tried_again(versions: dict[str, StoredModel], error: Exception, where: str) -> None:
    def fail(*_: Any) -> NoReturn:
        raise error

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        refused = await wait_for_readyz(client, 503, "tiny 2.0.0 could not be loaded just now; it is tried again")
        assert "memory" not in refused.text
        assert await read_golden_ok(client, "2.0.0") == "0.0"
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 503
        patch.undo()
        await wait_for_readyz(client, 200, '"models":["tiny/2.0.0"]')
        assert await mint_newest(client) == "2.0.0"
        # The older one's failure stays until it is asked for or due.
        assert "tiny/2.0.0" not in await read_broken(client)

    with pytest.MonkeyPatch.context() as patch:
        if where == "load":
            patch.setattr(artifact, "load_files", fail)
        else:
            patch.setattr(Path, "read_bytes", fail)
        run(scenario, waits=False, poll_s=0.05)


def test_files_that_cannot_be_read_just_now_withdraw_nothing(
    versions: dict[str, StoredModel], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        (versions["2.0.0"].path / "card.md").touch()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "read_bytes", fail)
            await registry.refresh()
        assert await mint_newest(client) == "2.0.0"

    run(scenario)
    assert "could not be checked again, and is served on until it can" in caplog.text


# How many stay loaded


def test_older_versions_are_unloaded_by_least_use(
    versions: dict[str, StoredModel], tiny_artifact: Path, tmp_path: Path
) -> None:
    for version in ("0.1.0", "0.2.0"):
        install_copy(tiny_artifact, tmp_path / version, version=version)

    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        def list_loaded() -> list[str]:
            return [model.manifest.version for model in registry.list_loaded()]

        async def use(version: str) -> None:
            body = {"model": "tiny", "version": version}
            assert (await client.post("/generate", json=body)).status_code == 200

        for version in ("0.1.0", "0.2.0", "0.1.0", "2.0.0", "1.0.0"):
            await use(version)
        assert list_loaded() == ["0.1.0", "1.0.0", "2.0.0"]
        assert await read_golden_ok(client, "0.2.0") is None
        install_copy(tiny_artifact, tmp_path / "3", version="3.0.0")
        await registry.refresh()
        assert list_loaded() == ["1.0.0", "2.0.0", "3.0.0"]
        await use("0.2.0")

    run(scenario, loaded_models=2)


def test_a_cached_image_of_an_unloaded_version_needs_no_load(versions: dict[str, StoredModel]) -> None:
    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        image = await client.get(OLD)
        registry._unload(("tiny", "1.0.0"))
        assert (await client.get(OLD)).content == image.content
        assert await has_unloaded(registry, "1.0.0")
        damage(versions["1.0.0"])
        await registry.refresh()
        assert (await client.get(OLD)).status_code == 503

    run(scenario)


def test_reading_a_card_loads_nothing(versions: dict[str, StoredModel]) -> None:
    async def scenario(client: httpx.AsyncClient, registry: Registry) -> None:
        assert (await client.get("/v1/models/tiny/1.0.0")).json()["version"] == "1.0.0"
        assert await has_unloaded(registry, "1.0.0")
        assert (await client.get("/v1/models/tiny/9.0.0")).status_code == 404
        assert (await client.get("/v1/models/nosuch")).status_code == 404

    run(scenario)
