"""The HTTP interface in-process, over a real artifact of a tiny untrained generator (8x8, 3 classes)."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from models import artifact, images, marks, store
from models.errors import FileError
from models.manifest import read_manifest
from service.app import create_app
from service.auth import create_key
from service.settings import Settings
from tests.model_copies import install_copy
from tests.service.app_client import wait_for_log
from tests.waiting import wait_until_async

Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]
MAX = 2**53 - 1


def test_json_lists_every_image_with_its_address(serve: Callable[..., None], tiny_artifact: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = (await client.post("/generate", json={"model": "tiny", "seed": 7, "index": 5, "n": 3})).json()
        tiny = read_manifest(tiny_artifact)
        expected = tiny.addresses(7, 5, 3)
        assert (response["model"], response["version"], response["seed"]) == ("tiny", tiny.version, 7)
        assert [i["address"] for i in response["images"]] == [str(a) for a in expected]
        assert [i["label_name"] for i in response["images"]] == [tiny.class_names[a.label or 0] for a in expected]
        pixels = artifact.load(tiny_artifact).mint(expected)
        for listing, truth, address in zip(response["images"], pixels, expected):
            assert base64.b64decode(listing["b64"]) == images.encode(truth, "image/png", str(address))

    serve(scenario)


def test_the_same_address_gives_the_same_bytes_by_every_route(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        body = {"model": "tiny", "seed": 3, "index": 11, "n": 1}
        single = await client.post("/generate", json=body, headers={"Accept": "image/png"})
        address = single.headers["ganmint-address"]
        path, _, query = address.partition("?")
        permanent = await client.get(f"/v1/images/{path}.png?{query}")
        crowd = (await client.post("/generate", json={"model": "tiny", "seed": 3, "n": 30})).json()["images"]
        assert permanent.content == single.content
        assert base64.b64decode(crowd[11]["b64"]) == single.content
        assert marks.read_address(single.content) == address

    serve(scenario)


def test_a_field_that_is_nearly_right_is_suggested(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        problem = (await client.post("/generate", json={"model": "tiny", "label": 1, "x": 2})).json()
        assert problem["errors"] == [
            {"field": "label", "message": "there is no such field (did you mean labels?)"},
            {"field": "x", "message": "there is no such field"},
        ]

    serve(scenario)


def test_classes_are_asked_for_by_name(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for labels, expected in (("b", [1, 1]), (["c", 0], [2, 0])):
            body = {"model": "tiny", "seed": 3, "n": 2, "labels": labels}
            listed = (await client.post("/generate", json=body)).json()["images"]
            assert [image["label"] for image in listed] == expected

    serve(scenario)


def test_many_images_as_a_picture_are_one_grid(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        body = {"model": "tiny", "seed": 1, "n": 9, "labels": "balanced"}
        grid = await client.post("/generate", json=body, headers={"Accept": "image/png"})
        assert grid.headers["content-type"] == "image/png"
        assert grid.headers["ganmint-labels"] == "0,1,2,0,1,2,0,1,2"
        with Image.open(io.BytesIO(grid.content)) as picture:
            assert picture.size == (24, 24)
            tile = np.asarray(picture)[8:16, 8:16]
        alone = await client.get("/v1/images/tiny/1.0.0/1/4.png?label=1")
        with Image.open(io.BytesIO(alone.content)) as picture:
            assert (np.asarray(picture) == tile).all()

    serve(scenario)


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_pictures_come_in_the_requested_format(serve: Callable[..., None], media_type: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/generate", json={"model": "tiny"}, headers={"Accept": media_type})
        assert response.headers["content-type"] == media_type
        with Image.open(io.BytesIO(response.content)) as picture:
            assert Image.MIME[picture.format or ""] == media_type

    serve(scenario)


def test_without_a_seed_the_server_picks_and_returns_one(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        first = (await client.post("/generate", json={"model": "tiny"})).json()
        second = (await client.post("/generate", json={"model": "tiny"})).json()
        assert first["seed"] != second["seed"]
        again = (await client.post("/generate", json={"model": "tiny", "seed": first["seed"]})).json()
        assert again == first

    serve(scenario)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    # The rules of names, versions, labels and integers are tested in tests/models; here one row for each of their
    # fields, and the rules of service.schemas.
    [
        ({"model": "nope"}, 404, "model"),
        ({"model": "tiny", "version": "9.9.9"}, 404, "version"),
        ({"model": "tiny", "version": "new"}, 422, "version"),
        ({"model": "../etc"}, 422, "model"),
        ({"model": 7}, 422, "model"),
        ({}, 422, "model"),
        ({"model": "tiny", "n": 0}, 422, "n"),
        ({"model": "tiny", "n": 10**9}, 422, "n"),
        ({"model": "tiny", "n": "3"}, 422, "n"),
        ({"model": "tiny", "n": True}, 422, "n"),
        ({"model": "tiny", "seed": -1}, 422, "seed"),
        ({"model": "tiny", "seed": 2**53}, 422, "seed"),
        ({"model": "tiny", "seed": 10**400}, 422, "seed"),
        ({"model": "tiny", "seed": 1.5}, 422, "seed"),
        ({"model": "tiny", "index": -1}, 422, "index"),
        ({"model": "tiny", "index": MAX, "n": 2}, 422, "index"),
        ({"model": "tiny", "labels": 3}, 422, "labels"),
        ({"model": "tiny", "labels": "all"}, 422, "labels"),
        ({"model": "tiny", "n": 2, "labels": [0, 3]}, 422, "labels[1]"),
        ({"model": "tiny", "n": 2, "labels": [0, True]}, 422, "labels"),
        ({"model": "tiny", "labels": {"size": "a"}}, 422, "labels"),
        ({"model": "tiny", "labels": {"size": 1}}, 422, "labels"),
        ({"model": "tiny", "psi": 0}, 422, "psi"),
        ({"model": "tiny", "psi": 1.01}, 422, "psi"),
        ({"model": "tiny", "psi": "1"}, 422, "psi"),
        ({"model": "tiny", "count": 3}, 422, "count"),
        ([], 422, "body"),
        (None, 422, "body"),
    ],
)
def test_bad_input_is_refused_naming_the_field(
    serve: Callable[..., None], body: Any, status: int, field: str | None
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/generate", content=json.dumps(body))
        problem = response.json()
        assert (response.status_code, problem["status"]) == (status, status)
        assert response.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in response.text
        if field:
            assert [e["field"] for e in problem["errors"]] == [field]
            assert field in problem["detail"]

    serve(scenario)


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status"),
    [
        ("POST", "/generate", {}, b'{"model": "tiny"', 400),
        ("POST", "/generate", {}, b"\xff\xfe", 400),
        ("POST", "/generate", {}, b"", 400),
        ("POST", "/generate", {"Content-Type": "text/xml"}, b"{}", 415),
        ("POST", "/generate", {"Accept": "video/mp4"}, b'{"model": "tiny"}', 406),
        ("POST", "/generate", {}, b'{"model": "' + b"x" * 70000, 413),
        ("GET", "/generate", {}, b"", 405),
        ("GET", "/nowhere", {}, b"", 404),
        ("GET", "/v1/models/nope", {}, b"", 404),
        ("GET", "/v1/models/tiny/7.0.0", {}, b"", 404),
        ("GET", "/v1/images/tiny/1.0.0/7/0.gif", {}, b"", 404),
    ],
)
def test_other_refusals_are_problem_documents(
    serve: Callable[..., None], method: str, path: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.request(method, path, headers=headers, content=content)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail"} <= response.json().keys()

    serve(scenario)


def test_the_model_routes_return_the_manifest(serve: Callable[..., None], tiny_artifact: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        tiny = read_manifest(tiny_artifact).model_dump(mode="json")
        listing = (await client.get("/v1/models")).json()
        assert (listing["models"], listing["broken"]) == ([tiny], [])
        assert (await client.get("/v1/models/tiny")).json() == tiny
        assert (await client.get("/v1/models/tiny/1.0.0")).json() == tiny

    serve(scenario)


@pytest.mark.parametrize(("runtime", "padded"), [("auto", False), ("onnx", False), ("torchscript", True)])
def test_each_loaded_version_says_what_runs_it(
    serve: Callable[..., None], caplog: pytest.LogCaptureFixture, tiny_artifact: Path, runtime: str, padded: bool
) -> None:
    caplog.set_level("INFO", "ganmint")
    name = "torchscript" if runtime == "torchscript" else "onnx"

    async def scenario(client: httpx.AsyncClient) -> None:
        (listing,) = (await client.get("/v1/models")).json()["runtimes"]
        fingerprint = listing.pop("fingerprint")
        expected = {"model": "tiny", "version": "1.0.0", "runtime": name, "batch_size": 4, "padded": padded}
        assert listing == expected
        assert fingerprint == artifact.load(tiny_artifact, runtime="torchscript" if padded else "onnx").fingerprint
        text = (await client.get("/metrics")).text
        assert f'runtime="{name}",version="1.0.0"}} 1.0' in text
        assert f'ganmint_model_padded{{model="tiny",version="1.0.0"}} {float(padded)}' in text
        batches = "every batch filled up to 4" if padded else "batches of 1 to 4"
        assert f"by {name}, {batches}, on {fingerprint}" in caplog.text

    serve(scenario, runtime=runtime)


def test_a_processor_whose_bits_depend_on_the_batch_gets_full_batches(
    serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.artifact.is_batch_independent", lambda *_: False)

    async def scenario(client: httpx.AsyncClient) -> None:
        (listing,) = (await client.get("/v1/models")).json()["runtimes"]
        assert (listing["runtime"], listing["padded"]) == ("onnx", True)
        assert listing["fingerprint"].count("batch 4") == 1
        assert (await client.post("/generate", json={"model": "tiny", "n": 7})).status_code == 200
        assert 'ganmint_batch_fill_ratio_sum{model="tiny",version="1.0.0"} 1.75' in (await client.get("/metrics")).text

    serve(scenario)


def test_a_model_published_later_is_served_without_a_restart(
    serve: Callable[..., None], tiny_artifact: Path, tmp_path: Path
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.post("/generate", json={"model": "later"})).status_code == 404
        install_copy(tiny_artifact, tmp_path / "later", name="later")
        assert (await client.post("/generate", json={"model": "later"})).status_code == 200
        install_copy(tiny_artifact, tmp_path / "tiny2", version="2.0.0")

        async def is_newest() -> bool:
            return bool((await client.post("/generate", json={"model": "tiny"})).json()["version"] == "2.0.0")

        await wait_until_async(is_newest, "2.0.0 is served as the newest version")
        assert (await client.get("/v1/images/tiny/1.0.0/7/0.png")).status_code == 200

    serve(scenario, poll_s=0.05)


def test_a_broken_model_does_not_affect_the_others(
    serve: Callable[..., None], tiny_artifact: Path, tmp_path: Path
) -> None:
    install_copy(tiny_artifact, tmp_path / "bad", name="bad")
    script = store.find_version("bad").path / artifact.SCRIPT
    script.write_bytes(script.read_bytes()[:-1] + b"?")

    async def scenario(client: httpx.AsyncClient) -> None:
        refusal = await client.post("/generate", json={"model": "bad"})
        assert refusal.status_code == 503
        assert str(tmp_path) not in refusal.text
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 200
        assert (await client.get("/readyz")).json()["broken"] == ["bad/1.0.0"]
        text = (await client.get("/metrics")).text
        assert 'ganmint_model_golden_ok{model="bad",version="1.0.0"} 0.0' in text
        assert 'ganmint_model_golden_ok{model="tiny",version="1.0.0"} 1.0' in text

    serve(scenario)


def test_a_broken_model_is_served_once_it_is_reinstalled(
    serve: Callable[..., None], tiny_artifact: Path, tmp_path: Path
) -> None:
    install_copy(tiny_artifact, tmp_path / "bad", name="bad")
    script = store.find_version("bad").path / artifact.SCRIPT
    script.write_bytes(b"damaged")

    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.post("/generate", json={"model": "bad"})).status_code == 503
        store.install(tmp_path / "bad")
        assert (await client.post("/generate", json={"model": "bad"})).status_code == 200
        assert (await client.get("/readyz")).json()["broken"] == []

    serve(scenario)


def test_metrics_count_by_route_template_only(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for k in range(5):
            await client.get(f"/v1/images/tiny/1.0.0/7/{k}.png")
            await client.get(f"/stranger/{k}")
        await client.post("/generate", json={"model": "tiny", "n": 7})
        text = (await client.get("/metrics")).text
        route = "/v1/images/{model}/{version}/{seed}/{index}.{extension}"
        assert f'ganmint_requests_total{{code="200",method="GET",route="{route}"}} 5.0' in text
        assert 'ganmint_requests_total{code="404",method="GET",route="unmatched"} 5.0' in text
        assert 'ganmint_images_total{model="tiny",version="1.0.0"} 12.0' in text
        assert "stranger" not in text

    serve(scenario)


def test_a_bug_is_a_plain_500_without_a_stack_trace(
    serve: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("service.responses.encode_json", broken)

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/generate", json={"model": "tiny"})
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        assert "secret" not in response.text

    serve(scenario)


def test_a_full_queue_gives_429_with_retry_after(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        requests = [client.post("/generate", json={"model": "tiny", "n": 50}) for _ in range(20)]
        responses = await asyncio.gather(*requests)
        codes = [a.status_code for a in responses]
        assert set(codes) == {200, 429}
        assert all(int(a.headers["retry-after"]) >= 1 for a in responses if a.status_code == 429)
        assert (await client.post("/generate", json={"model": "tiny"})).status_code == 200

    serve(scenario, max_n=50, queue_images=100)


def test_a_zip_holds_the_same_files_and_their_metadata(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        body = {"model": "tiny", "seed": 5, "n": 70, "labels": "balanced", "psi": 0.5}
        response = await client.post("/generate", json=body, headers={"Accept": "application/zip"})
        listing = (await client.post("/generate", json=body)).json()["images"]
        assert response.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            assert archive.testzip() is None
            rows = [json.loads(line) for line in archive.read("metadata.jsonl").decode().splitlines()]
            files = [archive.read(row["file_name"]) for row in rows]
        assert files == [base64.b64decode(image["b64"]) for image in listing]
        assert [row["address"] for row in rows] == [image["address"] for image in listing]
        again = await client.post("/generate", json=body, headers={"Accept": "application/zip"})
        assert again.content == response.content

    serve(scenario)


def test_an_npz_holds_pixels_labels_and_addresses(serve: Callable[..., None], tiny_artifact: Path) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        body = {"model": "tiny", "seed": 5, "n": 70, "labels": "balanced"}
        response = await client.post("/generate", json=body, headers={"Accept": "application/x-npz"})
        addresses = read_manifest(tiny_artifact).addresses(5, 0, 70, "balanced")
        with np.load(io.BytesIO(response.content), allow_pickle=False) as arrays:
            assert (arrays["images"] == artifact.load(tiny_artifact).mint(addresses)).all()
            assert arrays["labels"].tolist() == [a.label for a in addresses]
            assert arrays["addresses"].tolist() == [str(a) for a in addresses]
            assert arrays["label_names"].tolist() == ["a", "b", "c"]

    serve(scenario)


def test_an_archive_that_does_not_fit_the_queue_is_a_429(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        requests = [
            client.post("/generate", json={"model": "tiny", "n": 50}, headers={"Accept": "application/zip"})
            for _ in range(10)
        ]
        responses = await asyncio.gather(*requests)
        assert {a.status_code for a in responses} == {200, 429}

    serve(scenario, max_n=50, queue_images=100)


def test_a_deadline_that_passes_is_a_504(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        body = {"model": "tiny", "n": 1000}
        late = await client.post("/generate", json=body, headers={"Ganmint-Timeout-S": "0.001"})
        assert late.status_code == 504
        for text in ("0", "-1", "soon", "nan", "inf"):
            response = await client.post("/generate", json=body, headers={"Ganmint-Timeout-S": text})
            assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "Ganmint-Timeout-S")
        assert 'ganmint_shed_total{reason="deadline"} 1.0' in (await client.get("/metrics")).text

    serve(scenario)


def test_head_has_no_body_and_options_names_the_methods(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for path in ("/", "/livez", "/v1/models", "/v1/images/tiny/1.0.0/7/0.png"):
            get, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-length"] == get.headers["content-length"]
            options = await client.options(path)
            assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        options = await client.options("/generate")
        assert (options.status_code, options.headers["allow"]) == (204, "POST, OPTIONS")

    serve(scenario)


def test_browsers_of_allowed_origins_may_call(serve: Callable[..., None]) -> None:
    preflight_headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}

    async def without_origins(client: httpx.AsyncClient) -> None:
        assert (
            "access-control-allow-origin" not in (await client.options("/generate", headers=preflight_headers)).headers
        )

    async def with_origins(client: httpx.AsyncClient) -> None:
        preflight = await client.options("/generate", headers=preflight_headers)
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        response = await client.get("/v1/models", headers={"Origin": "https://app.example"})
        assert "Ganmint-Address" in response.headers["access-control-expose-headers"]
        other = await client.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers

    serve(without_origins)
    serve(with_origins, cors_origins="https://app.example, https://other.example")


def test_keys_are_required_and_limited(
    serve: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret, key = create_key("alice")
    limited = key.model_copy(update={"requests_per_minute": 4, "images_per_minute": 20})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([limited.model_dump()]))

    async def scenario(client: httpx.AsyncClient) -> None:
        async def ask(n: int, token: str | None = secret) -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return await client.post("/generate", json={"model": "tiny", "n": n}, headers=headers)

        for token in (None, "", "gm_wrong"):
            refusal = await ask(1, token)
            assert (refusal.status_code, refusal.headers["www-authenticate"]) == (401, "Bearer")
        first = await ask(5)
        assert first.status_code == 200
        assert first.headers["ratelimit-policy"] == '"requests";q=4;w=60, "images";q=20;w=60'
        assert first.headers["ratelimit"].startswith('"requests";r=3;t=')
        too_many = await ask(16)
        assert too_many.status_code == 429
        assert 1 <= int(too_many.headers["retry-after"]) <= 60
        assert "images" in too_many.json()["detail"]
        assert [(await ask(1)).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert (await client.get("/livez")).status_code == 200
        assert secret not in file.read_text()
        other_secret, other = create_key("other")
        file.write_text(json.dumps([other.model_dump()]))

        async def is_known() -> bool:
            return (await ask(1, other_secret)).status_code == 200

        await wait_until_async(is_known, "the changed key file is read")
        assert (await ask(1)).status_code == 401
        file.write_text("[{]")
        await wait_for_log(caplog, "API keys stay as they were")
        assert (await ask(1, other_secret)).status_code == 200

    serve(scenario, api_keys_file=str(file), poll_s=0.05)


def test_an_unusable_key_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(FileError, match=r"keys\.json: cannot be read"):
        create_app(Settings(api_keys_file=str(file)))
    file.write_text('[{"name": "alice", "sha256": "short"}]')
    with pytest.raises(FileError, match=r"keys\.json: is not a list of keys: \[0\]\.sha256"):
        create_app(Settings(api_keys_file=str(file)))


def test_the_page_and_the_api_description_are_served(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await client.get("/docs")).status_code == 200
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert {"/generate", "/v1/models", "/livez", "/readyz"} <= paths.keys()

    serve(scenario)
