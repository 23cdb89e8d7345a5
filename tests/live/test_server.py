"""What a caller of a real server sees."""

from __future__ import annotations

import asyncio
import base64
import io
import random
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from models import artifact, store
from models.address import Address
from models.manifest import read_manifest
from tests.live.conftest import Server, environment, free_port, running


def permanent_url(address: Address) -> str:
    path, _, query = str(address).partition("?")
    return f"/v1/images/{path}.png?{query}"


def test_200_addresses_give_the_same_bytes_singly_in_shuffled_groups_and_from_the_command_line(
    digits_server: Server, tmp_path: Path
) -> None:
    card = read_manifest(store.BUNDLED / "digits")
    addresses = card.addresses(seed=7, index=1000, n=200)
    order = random.Random(1)

    async def singly() -> dict[int, bytes]:
        async with httpx.AsyncClient(base_url=digits_server.url, timeout=60) as client:
            limit = asyncio.Semaphore(16)

            async def one(address: Address) -> tuple[int, bytes]:
                async with limit:
                    answer = await client.get(permanent_url(address))
                    assert answer.status_code == 200
                    return address.index, answer.content

            return dict(await asyncio.gather(*map(one, order.sample(addresses, len(addresses)))))

    async def in_groups() -> dict[int, bytes]:
        spans: list[tuple[int, int]] = []
        start = 1000
        while start < 1200:
            size = min(order.choice([1, 2, 3, 5, 8, 13, 40]), 1200 - start)
            spans.append((start, size))
            start += size
        order.shuffle(spans)
        async with httpx.AsyncClient(base_url=digits_server.url, timeout=60) as client:
            bodies = [{"model": "digits", "seed": 7, "index": i, "n": n} for i, n in spans]
            answers = await asyncio.gather(*(client.post("/generate", json=body) for body in bodies))
        return {i["index"]: base64.b64decode(i["b64"]) for answer in answers for i in answer.json()["images"]}

    out = tmp_path / "samples"
    done = digits_server.ganmint(
        "sample", "digits", "--seed", "7", "--index", "1000", "--count", "200", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    alone, grouped = asyncio.run(singly()), asyncio.run(in_groups())
    assert len(alone) == len(grouped) == 200
    for address in addresses:
        name = f"digits_{card.version}_7_{address.index}.png"
        assert alone[address.index] == grouped[address.index] == (out / name).read_bytes()


def test_the_grid_of_the_readme_is_64_digits(digits_server: Server) -> None:
    answer = httpx.post(
        digits_server.url + "/generate",
        content='{"model":"digits","seed":7,"n":64}',
        headers={"Accept": "image/png", "Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (224, 224)
        # Ink and paper: neither empty nor full.
        assert 0.08 < np.asarray(picture).mean() / 255 < 0.25


def test_system_routes_are_ours_and_bentomls_own_layers_stay_out_of_the_way(digits_server: Server) -> None:
    with httpx.Client(base_url=digits_server.url) as client:
        assert client.get("/livez").json() == {"status": "live"}
        assert client.get("/readyz").json()["status"] == "ready"
        metrics = client.get("/metrics").text
        assert "ganmint_requests_total" in metrics
        assert "bentoml_service" not in metrics
        assert client.get("/nowhere").headers["content-type"] == "application/problem+json"
        assert client.get("/").text.lower().startswith("<!doctype html>")


def test_head_requests_leave_the_server_log_clean(digits_server: Server) -> None:
    with httpx.Client(base_url=digits_server.url) as client:
        for path in ("/", "/livez", "/v1/models", "/v1/images/digits/3.0.0/7/0.png"):
            assert client.head(path).status_code == 200
            assert int(client.head(path).headers["content-length"]) > 0
        text = client.get("/metrics").text
    assert 'ganmint_requests_total{code="200",method="HEAD",route="/livez"} 2.0' in text
    assert "Traceback" not in digits_server.log.read_text()


def test_a_generator_published_while_it_runs_is_served(digits_server: Server, tiny_artifact: Path) -> None:
    with httpx.Client(base_url=digits_server.url, timeout=30) as client:
        assert client.post("/generate", json={"model": "tiny"}).status_code == 404
        done = digits_server.ganmint("models", "install", str(tiny_artifact))
        assert done.returncode == 0, done.stderr
        assert client.post("/generate", json={"model": "tiny"}).status_code == 200


def test_sigterm_finishes_what_was_accepted_and_exits_0(tiny_artifact: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path / "home"))
        store.install(tiny_artifact)

    async def ask_then_stop(server: Server) -> tuple[list[int], int]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            body = {"model": "tiny", "n": 512}
            asked = [asyncio.create_task(client.post("/generate", json=body)) for _ in range(4)]
            # Accepted once the first has come back: the others are in the queue by then.
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            code = await asyncio.to_thread(server.stop)
            return [answer.status_code for answer in await asyncio.gather(*asked)], code

    with running(tmp_path / "home", tmp_path / "log") as server:
        statuses, code = asyncio.run(ask_then_stop(server))
    assert statuses == [200] * 4
    assert code == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_server_with_only_a_tampered_model_is_live_but_never_ready(tiny_artifact: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        script = store.install(tiny_artifact).path / artifact.SCRIPT
    script.write_bytes(script.read_bytes() + b"x")
    import subprocess
    import sys

    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "ganmint", "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environment(home), stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and "generator.ts" not in log.read_text():
            time.sleep(0.2)
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(url + "/livez").status_code == 200
        assert httpx.get(url + "/readyz").status_code == 503
        refused = httpx.post(url + "/generate", json={"model": "tiny"})
        assert refused.status_code == 503
        assert "hash" in log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(30)


def test_serve_refuses_what_cannot_work_with_one_clear_line(tmp_path: Path, digits_server: Server) -> None:
    import subprocess
    import sys

    def serve(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ganmint", "serve", *arguments]
        return subprocess.run(
            command, env={**environment(home), **settings}, capture_output=True, text=True, timeout=60
        )

    empty = serve(tmp_path / "empty")
    assert (empty.returncode, empty.stderr.count("\n")) == (1, 1)
    assert "ganmint models install" in empty.stderr
    taken = serve(digits_server.home, "--port", digits_server.url.rsplit(":", 1)[1])
    assert taken.returncode == 2
    assert "--port" in taken.stderr
    wrong = serve(digits_server.home, GANMINT_MAX_N="many")
    assert wrong.returncode == 2
    assert "GANMINT_MAX_N" in wrong.stderr
    unknown = serve(digits_server.home, GANMINT_MODELS="digits,nope")
    assert unknown.returncode == 1
    assert "nope" in unknown.stderr
