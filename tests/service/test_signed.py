"""A service that was told to serve signed models only."""

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
from tests.models.test_signing import Keys, key_pair


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return key_pair(tmp_path / "keys")


async def until(client: httpx.AsyncClient, status: int, says: str = "") -> httpx.Response:
    """The answer of /readyz once it is that."""
    for _ in range(1000):
        answer = await client.get("/readyz")
        if answer.status_code == status and says in answer.text:
            return answer
        await asyncio.sleep(0.02)
    pytest.fail(f"/readyz stays {answer.status_code}: {answer.text}")


def run(scenario: Callable[[httpx.AsyncClient], Awaitable[None]], public_key: Path) -> None:
    async def main() -> None:
        app = create_app(Settings(device="cpu", poll_s=0.05, require_signed=True, public_key=str(public_key)))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as c:
            await scenario(c)

    asyncio.run(main())


@pytest.mark.parametrize("signed_by", [None, "stranger"])
def test_an_unsigned_or_wrongly_signed_model_is_refused_in_words_until_it_is_signed(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, keys: Keys, signed_by: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    stored = store.install(tiny_artifact)
    if signed_by:
        signing.sign(stored.path, key_pair(tmp_path / signed_by)[0])

    async def scenario(client: httpx.AsyncClient) -> None:
        ready = await until(client, 503, "tiny")
        why = "this model is not signed by the key that this service trusts, and is not served"
        assert ready.json()["detail"] == f"no model is loaded and checked yet; tiny/1.0.0: {why}"
        listed = (await client.get("/v1/models")).json()
        assert listed == {"models": [], "broken": [{"model": "tiny", "version": "1.0.0", "reason": why}]}
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 503
        await asyncio.to_thread(signing.sign, stored.path, keys[0])
        await until(client, 200)
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 200

    run(scenario, keys[1])
    logged = "is not signed by key.pub" if signed_by else "is not signed: it has no model.sig"
    assert logged in caplog.text


def test_a_signed_model_is_served_and_an_unsigned_one_beside_it_is_not(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, keys: Keys
) -> None:
    signed = shutil.copytree(tiny_artifact, tmp_path / "signed")
    signing.sign(signed, keys[0])
    store.install(signed)
    other = shutil.copytree(store.find("tiny").path, store_home / "models" / "tiny" / "0.9.0")
    (other / signing.SIGNATURE).unlink()

    async def scenario(client: httpx.AsyncClient) -> None:
        await until(client, 200)
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 200
        old = await client.post("/generate", json={"model": "tiny", "version": "0.9.0"})
        assert old.status_code == 503
        assert "is not signed by the key that this service trusts" in old.json()["detail"]

    run(scenario, keys[1])


def test_an_old_version_does_not_come_again_under_a_newer_number(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, keys: Keys
) -> None:
    signed = shutil.copytree(tiny_artifact, tmp_path / "signed")
    signing.sign(signed, keys[0])
    shutil.copytree(store.install(signed).path, store_home / "models" / "tiny" / "2.0.0")

    async def scenario(client: httpx.AsyncClient) -> None:
        assert "tiny/2.0.0: this model failed its checks" in (await until(client, 503, "tiny")).text

    run(scenario, keys[1])


def test_a_refused_model_is_never_loaded(
    store_home: Path, tiny_artifact: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading TorchScript can run code."""
    store.install(tiny_artifact)
    loaded: list[object] = []
    monkeypatch.setattr("torch.jit.load", lambda *arguments, **_: loaded.append(arguments))

    async def scenario(client: httpx.AsyncClient) -> None:
        await until(client, 503, "tiny")

    run(scenario, keys[1])
    assert not loaded


def test_a_key_that_cannot_be_used_stops_the_service_at_its_start(store_home: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"nowhere.pub: cannot be used as a public key: No such file"):
        create_app(Settings(device="cpu", require_signed=True, public_key=str(tmp_path / "nowhere.pub")))


def test_to_require_signatures_without_a_key_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANMINT_REQUIRE_SIGNED", "1")
    with pytest.raises(InputError, match="require_signed needs public_key"):
        read_settings()


def test_a_key_alone_requires_nothing(tmp_path: Path) -> None:
    assert Settings(public_key=str(tmp_path / "key.pub")).trusted_key is None
