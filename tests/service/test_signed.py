"""A service that requires signed models."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from models import signing, store
from models.errors import FileError, InputError
from service.app import create_app
from service.settings import Settings, read_settings
from tests.service.app_client import connect, wait_for_readyz
from tests.signing_keys import Keys, make_key_pair


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key_pair(tmp_path / "keys")


def run(scenario: Callable[[httpx.AsyncClient], Awaitable[None]], public_key: Path) -> None:
    async def main() -> None:
        app = create_app(Settings(device="cpu", poll_s=0.05, require_signed=True, public_key=str(public_key)))
        async with connect(app) as client:
            await scenario(client)

    asyncio.run(main())


@pytest.mark.parametrize("signed_by", [None, "stranger"])
def test_a_model_without_the_right_signature_is_refused_until_it_is_signed(
    store_home: Path,
    tiny_artifact: Path,
    tmp_path: Path,
    keys: Keys,
    signed_by: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored = store.install(tiny_artifact)
    if signed_by:
        signing.sign(stored.path, make_key_pair(tmp_path / signed_by)[0])

    async def scenario(client: httpx.AsyncClient) -> None:
        ready = await wait_for_readyz(client, 503, "tiny")
        reason = "this model is not signed by the key that this service trusts, and is not served"
        assert ready.json()["detail"] == f"no model is loaded and checked yet; tiny/1.0.0: {reason}"
        listing = (await client.get("/v1/models")).json()
        broken = [{"model": "tiny", "version": "1.0.0", "reason": reason}]
        assert listing == {"models": [], "broken": broken, "runtimes": []}
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 503
        await asyncio.to_thread(signing.sign, stored.path, keys[0])
        await wait_for_readyz(client, 200)
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 200

    run(scenario, keys[1])
    message = "is not signed by key.pub" if signed_by else "is not signed: it has no model.sig"
    assert message in caplog.text


def test_an_unsigned_version_beside_a_signed_one_is_refused(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, keys: Keys
) -> None:
    signed = shutil.copytree(tiny_artifact, tmp_path / "signed")
    signing.sign(signed, keys[0])
    store.install(signed)
    other = shutil.copytree(store.find_version("tiny").path, store_home / "models" / "tiny" / "0.9.0")
    (other / signing.SIGNATURE).unlink()

    async def scenario(client: httpx.AsyncClient) -> None:
        await wait_for_readyz(client, 200)
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 200
        old = await client.post("/generate", json={"model": "tiny", "version": "0.9.0"})
        assert old.status_code == 503
        assert "is not signed by the key that this service trusts" in old.json()["detail"]

    run(scenario, keys[1])


def test_an_old_version_cannot_be_replayed_as_a_newer_one(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, keys: Keys
) -> None:
    signed = shutil.copytree(tiny_artifact, tmp_path / "signed")
    signing.sign(signed, keys[0])
    shutil.copytree(store.install(signed).path, store_home / "models" / "tiny" / "2.0.0")

    async def scenario(client: httpx.AsyncClient) -> None:
        assert "tiny/2.0.0: this model failed its checks" in (await wait_for_readyz(client, 503, "tiny")).text

    run(scenario, keys[1])


def test_a_refused_model_is_never_loaded(
    store_home: Path, tiny_artifact: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading TorchScript can run code."""
    store.install(tiny_artifact)
    load_calls: list[object] = []
    monkeypatch.setattr("torch.jit.load", lambda *arguments, **_: load_calls.append(arguments))

    async def scenario(client: httpx.AsyncClient) -> None:
        await wait_for_readyz(client, 503, "tiny")

    run(scenario, keys[1])
    assert not load_calls


def test_an_unusable_public_key_stops_the_start(store_home: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nowhere.pub: cannot be used as a public key: No such file"):
        create_app(Settings(device="cpu", require_signed=True, public_key=str(tmp_path / "nowhere.pub")))


def test_requiring_signatures_without_a_key_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANMINT_REQUIRE_SIGNED", "1")
    with pytest.raises(InputError, match="require_signed needs public_key"):
        read_settings()


def test_a_public_key_alone_requires_no_signatures(tmp_path: Path) -> None:
    assert Settings(public_key=str(tmp_path / "key.pub")).trust == signing.ANY
