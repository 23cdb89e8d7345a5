"""A real server as its clients see it."""

from __future__ import annotations

import asyncio
import base64
import io
import random
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from models import artifact, store
from models.address import Address
from models.manifest import read_manifest
from tests.live.server import Server, run_ganmint, start_server
from tests.waiting import TIMEOUT_S, wait_until


def make_permanent_path(address: Address) -> str:
    path, _, query = str(address).partition("?")
    return f"/v1/images/{path}.png?{query}"


def test_an_image_is_the_same_alone_in_a_group_and_from_the_command_line(digits_server: Server, tmp_path: Path) -> None:
    version = read_manifest(store.BUNDLED / "digits").version
    addresses = read_manifest(store.BUNDLED / "digits").addresses(seed=7, index=1000, n=200)
    rng = random.Random(1)

    async def fetch_alone() -> dict[int, bytes]:
        async with httpx.AsyncClient(base_url=digits_server.url, timeout=TIMEOUT_S) as client:
            limit = asyncio.Semaphore(16)

            async def fetch(address: Address) -> tuple[int, bytes]:
                async with limit:
                    response = await client.get(make_permanent_path(address))
                    assert response.status_code == 200
                    return address.index, response.content

            return dict(await asyncio.gather(*map(fetch, rng.sample(addresses, len(addresses)))))

    async def fetch_groups() -> dict[int, bytes]:
        bodies = []
        start = 1000
        while start < 1200:
            size = min(rng.choice([1, 2, 3, 5, 8, 13, 40]), 1200 - start)
            bodies.append({"model": "digits", "seed": 7, "index": start, "n": size})
            start += size
        rng.shuffle(bodies)
        async with httpx.AsyncClient(base_url=digits_server.url, timeout=TIMEOUT_S) as client:
            responses = await asyncio.gather(*(client.post("/generate", json=body) for body in bodies))
        rows = [row for response in responses for row in response.json()["images"]]
        return {row["index"]: base64.b64decode(row["b64"]) for row in rows}

    out = tmp_path / "samples"
    options = ["--seed", "7", "--index", "1000", "--count", "200", "--out", str(out)]
    process = digits_server.run_command("sample", "digits", *options)
    assert process.returncode == 0, process.stderr
    alone = asyncio.run(fetch_alone())
    grouped = asyncio.run(fetch_groups())
    assert len(alone) == len(grouped) == 200
    for address in addresses:
        name = f"digits_{version}_7_{address.index}_label={address.label}.png"
        assert alone[address.index] == grouped[address.index] == (out / name).read_bytes()


def test_the_grid_of_the_readme_is_64_digits(digits_server: Server) -> None:
    response = httpx.post(
        digits_server.url + "/generate",
        content='{"model":"digits","seed":7,"n":64}',
        headers={"Accept": "image/png", "Content-Type": "application/x-www-form-urlencoded"},
        timeout=TIMEOUT_S,
    )
    assert response.status_code == 200
    with Image.open(io.BytesIO(response.content)) as picture:
        assert picture.size == (224, 224)
        # Neither blank nor full.
        assert 0.08 < np.asarray(picture).mean() / 255 < 0.25


def test_system_routes_are_the_apps_not_bentomls(digits_server: Server) -> None:
    with httpx.Client(base_url=digits_server.url, timeout=TIMEOUT_S) as client:
        assert client.get("/livez").json() == {"status": "live"}
        assert client.get("/readyz").json()["status"] == "ready"
        metrics = client.get("/metrics").text
        assert "ganmint_requests_total" in metrics
        assert "bentoml_service" not in metrics
        assert client.get("/nowhere").headers["content-type"] == "application/problem+json"
        assert client.get("/").text.lower().startswith("<!doctype html>")


def test_head_requests_leave_the_server_log_clean(digits_server: Server) -> None:
    with httpx.Client(base_url=digits_server.url, timeout=TIMEOUT_S) as client:
        for path in ("/", "/livez", "/v1/models", "/v1/images/digits/4.2.0/7/0.png"):
            assert client.head(path).status_code == 200
            assert int(client.head(path).headers["content-length"]) > 0
        text = client.get("/metrics").text
    assert 'ganmint_requests_total{code="200",method="HEAD",route="/livez"} 2.0' in text
    assert "Traceback" not in digits_server.log.read_text()


def test_a_generator_published_while_it_runs_is_served(digits_server: Server, tiny_artifact: Path) -> None:
    assert digits_server.post_generate({"model": "tiny"}).status_code == 404
    process = digits_server.run_command("models", "install", str(tiny_artifact))
    assert process.returncode == 0, process.stderr
    assert digits_server.post_generate({"model": "tiny"}).status_code == 200


def test_a_server_with_only_a_tampered_model_is_live_but_never_ready(home: Path, tmp_path: Path) -> None:
    script = home / "models" / "tiny" / "1.0.0" / artifact.SCRIPT
    script.write_bytes(script.read_bytes() + b"x")
    with start_server(home, tmp_path / "log") as server:
        wait_until(lambda: "generator.ts" in server.log.read_text(), "the log names the file")
        wait_until(lambda: server.has_status("/livez", 200), "the server is live")
        assert server.get("/readyz").status_code == 503
        assert server.post_generate({"model": "tiny"}).status_code == 503
        assert "hash" in server.log.read_text()
        assert "Traceback" not in server.log.read_text()


def test_serve_refuses_what_cannot_work_with_one_clear_line(tmp_path: Path, digits_server: Server) -> None:
    empty = run_ganmint(tmp_path / "empty", "serve")
    assert (empty.returncode, empty.stderr.count("\n")) == (1, 1)
    assert "ganmint models install" in empty.stderr
    taken = run_ganmint(digits_server.home, "serve", "--port", digits_server.url.rsplit(":", 1)[1])
    assert taken.returncode == 2
    assert "--port" in taken.stderr
    wrong = run_ganmint(digits_server.home, "serve", GANMINT_MAX_N="many")
    assert wrong.returncode == 2
    assert "GANMINT_MAX_N" in wrong.stderr
    unknown = run_ganmint(digits_server.home, "serve", GANMINT_MODELS="digits,nope")
    assert unknown.returncode == 1
    assert "nope" in unknown.stderr
