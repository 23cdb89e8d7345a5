"""Edited addresses and texts over HTTP: the same bytes as by every other way, and clear refusals."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import unicodedata
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

import ganmint
from models import artifact, images, marks, store, verification
from models.address import Address
from models.latents import draw_latent
from models.manifest import read_manifest
from service.settings import Settings
from tests.conftest import Command
from tests.model_copies import install_copy, revise_with_directions
from tests.service.app_client import connect_when_ready

Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]


def serve(scenario: Scenario, **settings: Any) -> None:
    """Run a scenario against a ready service."""

    async def main() -> None:
        async with connect_when_ready(Settings(device="cpu", **settings)) as client:
            await scenario(client)

    asyncio.run(main())


@pytest.fixture
def tiny(store_home: Path, tiny_artifact: Path) -> ganmint.Model:
    store.install(tiny_artifact)
    return ganmint.load(tiny_artifact, device="cpu")


def url_of(address: str, extension: str = "png") -> str:
    path, _, query = address.partition("?")
    return f"/v1/images/{path}.{extension}" + (f"?{query}" if query else "")


@pytest.mark.parametrize("folder", store.list_bundled(), ids=lambda folder: folder.name)
def test_http_python_and_sample_give_the_same_bytes(
    folder: Path, store_home: Path, tmp_path: Path, command: Command
) -> None:
    store.install(folder)
    model = ganmint.load(folder, device="cpu")
    name = f"{model.name}/{model.version}"
    # Each of four images; the second of two sets of options has classes only where the model has.
    last = len(model.class_names) - 1
    mix = ["--to", "8.1", "--at", "0.3333", "--z", "3=-2.5"]
    options = {
        "to=8.1&at=0.3333&z3=-2.5": mix,
        "z0=16&z5=0.25&z63=-16": ["--z", "0=16", "--z", "63=-16", "--z", "5=0.25"],
        "paste=1_8.0_2_2_5_5&u0.3=2.5&u1.0=-1_0_0_3_3": [
            *("--paste", "1_8.0_2_2_5_5", "--unit", "1.0=-1_0_0_3_3", "--unit", "0.3=2.5")
        ],
        "to=9.9&at=0.5" + f"&label=0&tolabel={last}" * bool(model.class_names): [
            *("--to", "9.9", "--at", "0.5"),
            *(["--labels", "0", "--to-label", str(last)] if model.class_names else []),
        ],
    }
    texts = [f"{name}/7/{index}?{edit}" for edit in options for index in range(4)]
    minted = model.mint_addresses(texts)
    files = [ganmint.encode(*pair) for pair in zip(minted.images, minted.addresses)]
    assert len({image.tobytes() for image in minted.images}) == 16
    for k, arguments in enumerate(options.values()):
        out = tmp_path / str(k)
        result = command(
            "sample", name, "--seed", "7", "--count", "4", "--out", str(out), "--device", "cpu", *arguments
        )
        assert result.code == 0, result.errors
        assert sorted(path.read_bytes() for path in out.iterdir()) == sorted(files[4 * k : 4 * k + 4])
    z = [draw_latent(3, 0, model.manifest.latents.z_dim), np.full(model.manifest.latents.z_dim, 0.1)]
    written = model.mint_latents(z, labels=last if model.class_names else None)
    texts += map(str, written.addresses)
    files += [ganmint.encode(*pair) for pair in zip(written.images, written.addresses)]

    async def scenario(client: httpx.AsyncClient) -> None:
        for text, file, address in zip(texts, files, (*minted.addresses, *written.addresses)):
            response = await client.get(url_of(text))
            assert response.headers["ganmint-address"] == str(address)
            assert response.content == file
            assert marks.read_address(file) == str(address)
            judged = (await client.post("/v1/verify", content=file, headers={"Content-Type": "image/png"})).json()
            assert judged["result"] == "identical"

    serve(scenario)


def test_parts_in_any_order_are_one_image_at_one_canonical_url(tiny: ganmint.Model) -> None:
    parts = ["label=1", "psi=0.5", "to=8.0", "tolabel=2", "at=0.5", "z3=0.5", "z5=-1"]
    canonical = url_of(f"tiny/1.0.0/7/0?{'&'.join(parts)}")
    orders = [parts, parts[::-1], [*parts[:5], "z5=-1", "z3=0.5"], ["z5=-1", *parts[:5], "z3=0.5"]]

    async def scenario(client: httpx.AsyncClient) -> None:
        answers = [await client.get(url_of(f"tiny/1.0.0/7/0?{'&'.join(order)}")) for order in orders]
        assert {answer.headers["content-location"] for answer in answers} == {canonical}
        assert len({(answer.status_code, answer.headers["etag"], answer.content) for answer in answers}) == 1
        for order in orders:
            known = {"If-None-Match": answers[0].headers["etag"]}
            again = await client.get(url_of(f"tiny/1.0.0/7/0?{'&'.join(order)}"), headers=known)
            assert (again.status_code, again.headers["content-location"]) == (304, canonical)

    serve(scenario)


def test_directions_are_the_same_bytes_over_http_in_python_and_in_sample(
    tiny: ganmint.Model, tiny_artifact: Path, tmp_path: Path, command: Command
) -> None:
    revise_with_directions(tiny_artifact)
    model = ganmint.load("tiny", device="cpu")
    edit = "to=8.1&at=0.3333&z3=-2.5&dir.tilt=2&dir.wide-2=-1.5&u0.3=2.5"
    written = model.mint_latents([np.full(8, 0.1)], labels=1).addresses[0]
    texts = [f"tiny/1.1.0/7/{index}?{edit}" for index in range(3)] + [f"{written}&dir.tilt=1"]
    minted = model.mint_addresses(texts)
    plain = model.mint_addresses([text.replace("dir.tilt=2&", "").replace("&dir.tilt=1", "") for text in texts])
    assert all((a != b).any() for a, b in zip(minted.images, plain.images))
    files = [ganmint.encode(*pair) for pair in zip(minted.images, minted.addresses)]
    options = ["--to", "8.1", "--at", "0.3333", "--z", "3=-2.5", "--unit", "0.3=2.5"]
    options += ["--direction", "wide-2=-1.5", "--direction", "tilt=2"]
    out = tmp_path / "out"
    result = command("sample", "tiny", "--seed", "7", "--count", "3", "--out", str(out), "--device", "cpu", *options)
    assert result.code == 0, result.errors
    assert sorted(path.read_bytes() for path in out.iterdir()) == sorted(files[:3])

    async def scenario(client: httpx.AsyncClient) -> None:
        for text, file, address in zip(texts, files, minted.addresses):
            response = await client.get(url_of(text))
            assert (response.headers["ganmint-address"], response.content) == (str(address), file)
        refused = await client.get(url_of("tiny/1.1.0/7/0?dir.smile=1"))
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "dir.smile")
        assert "tilt, wide-2" in refused.text

    serve(scenario)


def test_written_latents_are_answered_with_their_addresses(tiny: ganmint.Model) -> None:
    latents = [[0.1 * k] * 8 for k in range(3)]
    expected = tiny.mint_latents(latents, labels=[2, 0, 1], psi=0.5)

    async def scenario(client: httpx.AsyncClient) -> None:
        body = {"model": "tiny", "latents": latents, "labels": [2, 0, 1], "psi": 0.5}
        answer = (await client.post("/generate", json=body)).json()
        assert answer["seed"] is None
        assert [image["address"] for image in answer["images"]] == [str(a) for a in expected.addresses]
        assert [image["index"] for image in answer["images"]] == [0, 1, 2]
        for image in answer["images"]:
            assert (await client.get(url_of(image["address"]))).content == base64.b64decode(image["b64"])
        single = {"model": "tiny", "latents": latents[:1], "labels": 2, "psi": 0.5}
        response = await client.post("/generate", json=single, headers={"Accept": "image/png"})
        assert response.headers["ganmint-address"] == str(expected.addresses[0])
        assert "ganmint-seed" not in response.headers
        archive = await client.post("/generate", json=body, headers={"Accept": "application/zip"})
        assert archive.headers["ganmint-count"] == "3" and "ganmint-index" not in archive.headers
        with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
            assert files.namelist() == ["metadata.jsonl", "0.png", "1.png", "2.png"]
            rows = [json.loads(row) for row in files.read("metadata.jsonl").splitlines()]
        assert [row["address"] for row in rows] == [str(a) for a in expected.addresses]

    serve(scenario)


ZEROS = [0.0] * 8


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"latents": [ZEROS, ZEROS[:7]], "labels": 1}, "latents[1]", "has 7 numbers"),
        ({"latents": [[*ZEROS[:7], 17]], "labels": 1}, "latents[0][7]", "16"),
        ({"latents": [[*ZEROS[:7], "1"]], "labels": 1}, "latents[0][7]", "number"),
        ({"latents": [[*ZEROS[:7], None]], "labels": 1}, "latents[0][7]", "number"),
        ({"latents": [[*ZEROS[:7], True]], "labels": 1}, "latents[0][7]", "number"),
        ({"latents": ZEROS, "labels": 1}, "latents[0]", "list"),
        ({"latents": [], "labels": 1}, "latents", "at least 1"),
        ({"latents": [ZEROS]}, "labels", "no random stream"),
        ({"latents": [ZEROS], "labels": [1, 2]}, "labels", "2 entries"),
        ({"latents": [ZEROS], "labels": 1, "seed": 7}, "latents", "leave these out"),
        ({"latents": [ZEROS], "labels": 1, "index": 7}, "latents", "leave these out"),
        ({"latents": [ZEROS], "labels": 1, "n": 2}, "latents", "leave n out"),
        ({"latents": [ZEROS] * 5, "labels": 1}, "latents", "at most 4"),
    ],
)
def test_bad_latents_are_refused_by_name(tiny: ganmint.Model, fields: dict[str, Any], field: str, words: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post("/generate", json={"model": "tiny", **fields})
        assert response.status_code == 422
        assert field in [error["field"] for error in response.json()["errors"]]
        assert words in response.text

    serve(scenario, max_n=4)


def test_not_a_number_is_refused(tiny: ganmint.Model) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for word in ("NaN", "Infinity", "1e999"):
            body = f'{{"model": "tiny", "labels": 1, "latents": [[{word},0,0,0,0,0,0,0]]}}'
            response = await client.post("/generate", content=body, headers={"Content-Type": "application/json"})
            assert response.status_code in (400, 422), word

    serve(scenario)


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("7/0?to=8.0&at=1", "at"),
        ("7/0?to=8.0", "at"),
        ("7/0?to=7.0&at=0.5", "to"),
        ("7/0?label=1&to=8.0&tolabel=1&at=0.5", "tolabel"),
        ("7/0?label=1&to=8.0&tolabel=3&at=0.5", "tolabel"),
        ("7/0?z8=1", "z8"),
        ("7/0?z1=1.50", "z1"),
        ("7/0?paste=0_8.0_0_0_4_4", "paste"),
        ("7/0?paste=0_8.0_0_0_1", "paste"),
        ("7/0?u0.8=1", "u0.8"),
        ("7/0?u0.0=1e3", "u0.0"),
        ("z/AAAAPw?label=1", "latent"),
        ("z/AAAAPw==?label=1", "latent"),
    ],
)
def test_an_edit_that_is_none_is_refused_by_its_field(tiny: ganmint.Model, address: str, field: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(url_of(f"tiny/1.0.0/{address}"))
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)

    serve(scenario)


@pytest.mark.parametrize("text", ["hello", "Ann Lee", "a/b.png", "Zoë", "Zoe\u0308", "日本", "?#%&", "x" * 256])
def test_a_text_leads_to_its_image(tiny: ganmint.Model, text: str) -> None:
    digest = hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()
    seed = int(digest[:14], 16) // 8

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(f"/v1/of/tiny/{quote(text, safe='')}.png?label=1&psi=0.5")
        assert response.status_code == 307
        assert response.headers["location"] == f"/v1/images/tiny/1.0.0/{seed}/0.png?label=1&psi=0.5"
        assert response.headers["cache-control"] == "no-store"

    serve(scenario)


def test_a_text_leads_to_the_newest_version_below_the_prefix(
    tiny: ganmint.Model, tiny_artifact: Path, tmp_path: Path
) -> None:
    install_copy(tiny_artifact, tmp_path / "newer", version="1.0.1")

    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get("/v1/of/tiny/hello.webp")
        assert response.headers["location"].startswith("/mint/v1/images/tiny/1.0.1/")
        image = await client.get(response.headers["location"])
        assert (image.status_code, image.headers["content-type"]) == (200, "image/webp")
        assert response.headers["location"] == image.headers["content-location"]

    serve(scenario, root_path="/mint")


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("tiny/.png", 422, "text"),
        ("tiny/" + "x" * 257 + ".png", 422, "text"),
        ("tiny/%FF.png", 422, "text"),
        ("tiny/hello.png?label=9", 422, "label"),
        ("tiny/hello.png?nosuch=9", 422, "address"),
        ("nosuch/hello.png", 404, "model"),
        ("tiny/hello.gif", 404, None),
        ("tiny/hello", 404, None),
    ],
)
def test_what_is_no_text_is_refused(tiny: ganmint.Model, path: str, status: int, field: str | None) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(f"/v1/of/{path}")
        assert response.status_code == status
        assert [error["field"] for error in response.json().get("errors", [])] == ([field] if field else [])

    serve(scenario)


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("label=a%2B", "label", "must be from 0 to 2 (a, b, c), got 'a+'; an address has the class's number"),
        ("label=9", "label", "must be from 0 to 2 (a, b, c), got 9"),
        ("label=", "label", "must be from 0 to 2 (a, b, c), got ''; an address has the class's number"),
        ("label=%FF", "label", "must be from 0 to 2 (a, b, c), got '%FF'; an address has the class's number"),
        ("label=b", "label", "must be from 0 to 2 (a, b, c), got 'b'; an address has the class's number: label=1"),
        ("to=8.0&at=0.5&tolabel=b", "tolabel", "got 'b'; an address has the class's number: tolabel=1"),
        ("size=256", "address", "unknown part 'size=256'; the parts are label=L, psi=P, to=SEED.INDEX"),
        ("label=1&", "address", "an empty part: an & too many; the parts are label=L, psi=P"),
    ],
)
def test_a_wrong_query_says_what_there_is(tiny: ganmint.Model, query: str, field: str, words: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for path in ("images/tiny/1.0.0/7/0", "of/tiny/ada"):
            response = await client.get(f"/v1/{path}.png?{query}")
            (error,) = response.json()["errors"]
            assert (response.status_code, error["field"]) == (422, field)
            assert words in error["message"]

    serve(scenario)


def test_edited_addresses_in_a_grid_are_verified(tiny: ganmint.Model) -> None:
    texts = [f"tiny/1.0.0/7/{index}?label=0&to=8.0&tolabel=2&at=0.5&z1=-1" for index in range(5)]
    minted = tiny.mint_addresses(texts)
    picture = images.encode_one_or_grid(minted.images, "image/jpeg", texts)
    sampler = artifact.load(store.find_model("tiny").path)
    judged = verification.verify(picture, lambda addresses: sampler.mint(addresses), 10)
    assert judged.verification.result == "identical"
    assert [Address.parse(text) for text in judged.verification.addresses] == list(minted.addresses)
    assert read_manifest(store.find_model("tiny").path).check(minted.addresses[0]) == minted.addresses[0]
