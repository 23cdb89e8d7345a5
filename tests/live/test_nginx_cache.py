"""The shipped nginx configuration in front of real services: what it keeps, and what it must not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.auth import create_key
from tests.live.metrics import read_metric
from tests.live.server import Server, find_free_port, run_server
from tests.live.test_nginx import NGINX
from tests.waiting import TIMEOUT_S, wait_until

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light")
CONFIGURATION = Path(__file__).parents[2] / "deploy/helm/ganmint/files/nginx.conf"
IMAGES = "/v1/images/tiny/1.0.0"
MINTED = 'ganmint_images_total{model="tiny",version="1.0.0"}'


@contextlib.contextmanager
def run_cache(folder: Path, service: Server) -> Iterator[httpx.Client]:
    """Run nginx by the shipped file, with other places and ports; yields a client of it."""
    folder.mkdir()
    port = find_free_port()
    text = CONFIGURATION.read_text()
    for old, new in (
        ("server 127.0.0.1:3000;", f"server {service.url.removeprefix('http://')};"),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("/tmp/", f"{folder}/"),
        ("/var/cache/nginx", f"{folder}/cache"),
        ("/dev/stderr", f"{folder}/error.log"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    if os.getuid() == 0:
        # Its workers would be nobody, who may not write here.
        text = "user root;\n" + text
    (folder / "nginx.conf").write_text(text)
    assert NGINX
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

            def serves() -> bool:
                assert process.poll() is None, (folder / "error.log").read_text()
                with contextlib.suppress(httpx.TransportError):
                    return client.get("/v1/models").status_code in (200, 401)
                return False

            wait_until(serves, "nginx serves")
            yield client
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def ask(client: httpx.Client, path: str, **headers: str) -> tuple[int, str, bytes]:
    response = client.get(path, headers=headers)
    return response.status_code, response.headers.get("x-cache", ""), response.content


def test_an_image_is_minted_once_however_many_ask_and_however_they_write_it(home: Path, tmp_path: Path) -> None:
    # Without the service's own cache, which would hide a second request.
    with (
        run_server(home, tmp_path / "log", GANMINT_CACHE_MB="0") as service,
        run_cache(tmp_path / "nginx", service) as client,
    ):
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: ask(client, f"{IMAGES}/7/0.png?label=1"), range(10)))
        assert {status for status, _, _ in answers} == {200}
        assert sorted(cache for _, cache, _ in answers) == ["HIT"] * 9 + ["MISS"]
        assert read_metric(service, MINTED) == 1
        for query in ("label=1&psi=1", "psi=1&label=1", "psi=1.0&label=1", "label=1"):
            assert ask(client, f"{IMAGES}/7/0.png?{query}")[1] == "HIT", query
        assert read_metric(service, MINTED) == 1
        image = client.get(f"{IMAGES}/7/0.png?label=1")
        assert image.headers["content-location"] == f"{IMAGES}/7/0.png?label=1"
        assert image.content == service.get(f"{IMAGES}/7/0.png?label=1").content
        assert "immutable" in image.headers["cache-control"] and "x-request-id" not in image.headers
        unchanged = client.get(f"{IMAGES}/7/0.png?label=1", headers={"If-None-Match": image.headers["etag"]})
        assert unchanged.status_code == 304
        # Edits may stand in any order; only a query that is valid shares a key.
        mixed = "to=8.0&label=1&z3=0.5&z5=-1&tolabel=2&at=0.5&psi=0.50"
        first = client.get(f"{IMAGES}/7/0.png?{mixed}")
        canonical = first.headers["content-location"]
        assert canonical == f"{IMAGES}/7/0.png?label=1&psi=0.5&to=8.0&tolabel=2&at=0.5&z3=0.5&z5=-1"
        for query in (mixed, "psi=.5&at=0.5&tolabel=2&to=8.0&z3=0.5&z5=-1&label=1", canonical.partition("?")[2]):
            assert ask(client, f"{IMAGES}/7/0.png?{query}") == (200, "HIT", first.content), query
        # Dimensions in another order have a key of their own, and lead to the same canonical address all the same.
        turned = mixed.replace("z3=0.5&z5=-1", "z5=-1&z3=0.5")
        for cache in ("MISS", "HIT"):
            response = client.get(f"{IMAGES}/7/0.png?{turned}")
            assert (response.headers["x-cache"], response.content) == (cache, first.content)
            assert response.headers["etag"] == first.headers["etag"]
            assert response.headers["content-location"] == canonical
        for query in ("label=1&label=1", "label=1&", "label=1&psi=1.", "label=1&at=0.5", f"{mixed}&z3=0.5", "label=01"):
            assert ask(client, f"{IMAGES}/7/0.png?{query}")[0] == 422, query
        # Others are other images.
        assert ask(client, f"{IMAGES}/7/0.png?psi=0.5&label=1")[1] == "MISS"
        assert ask(client, f"{IMAGES}/7/0.png?label=1&psi=0.5")[1] == "HIT"
        for query in ("", "?label=2", "?label=1&psi=0.25"):
            status, cache, content = ask(client, f"{IMAGES}/7/0.png{query}")
            assert (status, cache) == (200, "MISS"), query
            assert query == "" or content != image.content
        # What may change is not kept.
        for path, expected in (
            ("/v1/images/tiny/9.9.9/7/0.png", 404),
            (f"{IMAGES}/7/0.png?label=9", 422),
            ("/v1/models/tiny/1.0.0", 200),
        ):
            for _ in range(2):
                status, cache, _ = ask(client, path)
                assert status == expected and cache in ("MISS", ""), path
        assert {ask(client, f"/{name}")[0] for name in ("metrics", "livez", "readyz")} == {404}


def test_private_images_are_never_stored(home: Path, tmp_path: Path) -> None:
    secret, key = create_key("alice")
    authorization = f"Bearer {secret}"
    with (
        run_server(home, tmp_path / "log", GANMINT_API_KEYS=json.dumps([key.model_dump()])) as service,
        run_cache(tmp_path / "nginx", service) as client,
    ):
        path = f"{IMAGES}/7/0.png"
        for _ in range(2):
            assert ask(client, path, Authorization=authorization)[:2] == (200, "MISS")
            assert ask(client, path)[0] == 401
        assert [file for file in (tmp_path / "nginx" / "cache").rglob("*") if file.is_file()] == []
