"""The page's files and the weights over HTTP."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import httpx

from models import artifact, store
from models.revision import revise
from models.units import Units, dump_units
from service.auth import create_key
from service.page_files import MEDIA_TYPES, list_files
from tests.model_copies import revise_with_directions
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


def test_directions_are_the_artifacts_and_caches_keep_them(
    serve: Callable[..., None], store_home: Path, tiny_artifact: Path
) -> None:
    folder = revise_with_directions(tiny_artifact).path
    url = "/v1/models/tiny/1.1.0/directions.json"

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(url)
        assert response.content == (folder / "directions.json").read_bytes()
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = await client.get(url, headers={"If-None-Match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get(url.replace("1.1.0", "1.0.0"))).status_code == 404
        manifest = (await client.get("/v1/models/tiny")).json()
        assert manifest["directions"] == ["tilt", "wide-2"] and "directions.json" in manifest["files"]

    # Also where the weights are kept.
    serve(scenario, share_weights=False)


def test_units_are_the_artifacts(serve: Callable[..., None], store_home: Path, tiny_artifact: Path) -> None:
    content = dump_units(Units(images=1, concepts=(), origin="none", levels=()))
    revise(artifact.read(tiny_artifact), {"units.json": content})

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get("/v1/models/tiny/1.1.0/units.json")
        assert (response.content, response.headers["content-type"]) == (content, "application/json")
        assert (await client.get("/v1/models/tiny/1.1.0/directions.json")).status_code == 404

    serve(scenario)


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


FILES = [
    *((f"/play/{name}", STATIC / name) for name in sorted(list_files("play"))),
    *((f"/mint/{name}", STATIC.parent / "mint" / name) for name in sorted(list_files("mint"))),
    *((f"/play/lab/{name}", STATIC / "lab" / name) for name in sorted(list_files("play/lab"))),
]
NAMES = re.compile(r"""["'`(]((?:\./|(?:\.\./)?play/|mint/|lab/)?[a-z0-9_-]+\.(?:mjs|css|svg|wasm))["'`)]""")
TEXTS = [(url, path.read_text()) for url, path in FILES if path.suffix in (".html", ".css", ".mjs")]


def test_the_pages_and_every_file_that_they_ask_for_are_served(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for url in ("/", "/play", "/play/lab"):
            assert (await client.get(url)).headers["content-type"].startswith("text/html")
        for url, path in FILES:
            response = await client.get(url)
            assert response.content == _read_as_sent(path)
            assert response.headers["content-type"] == MEDIA_TYPES[path.suffix]
            assert "'unsafe-inline'" not in response.headers["content-security-policy"]
            again = await client.get(url, headers={"If-None-Match": response.headers["etag"]})
            assert again.status_code == 304
        for url in ("/play/kernel.c", "/play/lab/none.mjs"):
            assert (await client.get(url)).status_code == 404

    serve(scenario)


def _read_as_sent(path: Path) -> bytes:
    """Return a file without indentation, and a script without its comments, but those with quotes after code."""
    if path.suffix == ".wasm":
        return path.read_bytes()
    content = path.read_text()
    if path.suffix == ".mjs":
        lines = content.split("\n")
        content = "\n".join(
            "" if line.lstrip().startswith("//") else re.sub(r" +// [^'\"`]*$", "", line).lstrip() for line in lines
        )
    elif path.suffix == ".html":
        content = re.sub(r"^ +", "", content, flags=re.MULTILINE)
    return content.encode()


def test_the_files_name_only_files_that_are_served() -> None:
    for url, text in TEXTS:
        # The addresses of the pages themselves.
        base = {"/mint/mint.html": "/", "/play/play.html": "/play", "/play/lab/lab.html": "/play/lab"}.get(url, url)
        for name in re.findall(
            r"""["'`(]((?:\./|(?:\.\./)?play/|mint/|lab/)?[a-z0-9_-]+\.(?:mjs|css|svg|wasm))["'`)]""", text
        ):
            assert urljoin(base, name) in dict(FILES), (url, name)


def test_the_pages_have_nothing_inline_and_name_no_other_host() -> None:
    for url, text in TEXTS:
        if url.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text), url
        hosts = re.findall(r"https?://[^\s'\"/]+", text)
        # The name of SVG.
        assert set(hosts) <= {"http://www.w3.org"}, url


def test_the_pages_are_small_on_the_wire(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        sizes = {"/play/": 0, "/mint/": 0, "/play/lab/": 0}
        for url, path in FILES:
            async with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as response:
                raw = b"".join([part async for part in response.aiter_raw()])
            assert response.headers["content-encoding"] == "gzip"
            assert response.headers["vary"] == "Accept-Encoding"
            if path.suffix != ".json":
                sizes[url[: url.rindex("/") + 1]] += len(raw)
                assert gzip.decompress(raw) == _read_as_sent(path)
        plain = await client.get("/play/play.mjs", headers={"Accept-Encoding": "identity"})
        packed = await client.get("/play/play.mjs", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in plain.headers and plain.headers["etag"] != packed.headers["etag"]
        headers = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["etag"]}
        assert (await client.get("/play/play.mjs", headers=headers)).status_code == 304
        assert sizes["/play/"] < 46_500 and sum(sizes.values()) < 63_000, sizes

    serve(scenario)
