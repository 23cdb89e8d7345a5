"""The page's files and the weights over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from models import store
from service.auth import create_key
from service.play import MEDIA_TYPES
from tests.service.play.node import STATIC

URL = "/v1/models/tiny/1.0.0/generator.safetensors"


def test_weights_are_the_artifacts_and_caches_keep_them(serve: Callable[..., None], tiny_artifact: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(URL)
        assert response.content == (tiny_artifact / "generator.safetensors").read_bytes()
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = await client.get(URL, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get(URL.replace("1.0.0", "9.0.0"))).status_code == 404

    serve(scenario)


def test_weights_that_changed_since_they_were_checked_are_not_given_out(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.get(URL)).status_code == 200
        path = store.find_version("tiny", "1.0.0").path / "generator.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert (await client.get(URL)).status_code == 503

    serve(scenario, poll_s=3600)


def test_an_operator_may_keep_the_weights(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(URL)
        assert response.status_code == 403 and "GANMINT_SHARE_WEIGHTS" in response.json()["detail"]

    serve(scenario, share_weights=False)


def test_with_keys_the_weights_are_for_callers_with_a_key(serve: Callable[..., None]) -> None:
    secret, key = create_key("alice")

    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.get(URL)).status_code == 401
        response = await client.get(URL, headers={"Authorization": f"Bearer {secret}"})
        assert (response.status_code, response.headers["cache-control"]) == (
            200,
            "private, max-age=31536000, immutable",
        )

    serve(scenario, api_keys=json.dumps([key.model_dump()]), public_images=True)


def test_the_page_and_every_file_that_it_asks_for_are_served(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        page = await client.get("/play")
        assert page.headers["content-type"].startswith("text/html")
        for name, media_type in MEDIA_TYPES.items():
            response = await client.get(f"/play/{name}")
            assert response.content == (STATIC / name).read_bytes()
            assert response.headers["content-type"] == media_type
            assert "'unsafe-inline'" not in response.headers["content-security-policy"]
            again = await client.get(f"/play/{name}", headers={"If-None-Match": response.headers["etag"]})
            assert again.status_code == 304
        assert (await client.get("/play/kernel.c")).status_code == 404

    serve(scenario)


def test_the_files_name_only_files_that_are_served() -> None:
    for name in MEDIA_TYPES:
        if not name.endswith(".wasm"):
            named = re.findall(r"""(?:play|\.)/([a-z]+\.(?:mjs|css|wasm))""", (STATIC / name).read_text())
            assert set(named) <= set(MEDIA_TYPES), name


def test_the_page_has_nothing_inline_and_names_no_other_host() -> None:
    page = (STATIC / "play.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page)
    for name in MEDIA_TYPES:
        if not name.endswith(".wasm"):
            hosts = re.findall(r"https?://[^\s'\"/]+", (STATIC / name).read_text())
            # The name of SVG, in the icon.
            assert set(hosts) <= {"http://www.w3.org"}, name
    assert sum((STATIC / name).stat().st_size for name in MEDIA_TYPES) < 76_000
