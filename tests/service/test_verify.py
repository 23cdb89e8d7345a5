"""POST /v1/verify in-process, over the tiny model: answers, refusals, admission, bounds."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import artifact, images, png, verification
from models.images import MEDIA_TYPES, MediaType
from models.sampler import Sampler
from models.verification import GOOD, Result
from service import verify
from service.auth import create_key
from tests.waiting import TIMEOUT_S, wait_until_async

Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]
URL = "/v1/verify"


@pytest.fixture(scope="module")
def sampler(tiny_artifact: Path) -> Sampler:
    return artifact.load(tiny_artifact)


def make(sampler: Sampler, n: int = 1, media_type: MediaType = "image/png", text: str = "") -> bytes:
    addresses = sampler.manifest.addresses(7, 0, n, "balanced")
    pixels = images.grid(sampler.mint(addresses), int(np.ceil(np.sqrt(n))))
    return images.encode(pixels, media_type, text or "\n".join(map(str, addresses)))


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("n", [1, 5, 9])
def test_what_the_service_made_is_identical(serve: Callable[..., None], media_type: MediaType, n: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        made = await client.post("/generate", json={"model": "tiny", "n": n}, headers={"Accept": media_type})
        response = await client.post(URL, content=made.content, headers={"Content-Type": media_type})
        assert response.status_code == 200
        body = response.json()
        assert (body["result"], body["media_type"], body["is_synthetic"]) == ("identical", media_type, True)
        assert len(body["addresses"]) == n and body["difference"] is None

    serve(scenario)


def test_a_changed_pixel_is_told_and_shown(serve: Callable[..., None], sampler: Sampler) -> None:
    pixels = pixels_of(make(sampler, 9))
    pixels[10, 3] ^= 0x80
    addresses = sampler.manifest.addresses(7, 0, 9, "balanced")
    changed = images.encode(pixels[..., None], "image/png", "\n".join(map(str, addresses)))

    async def scenario(client: httpx.AsyncClient) -> None:
        # Without a Content-Type, with curl's, and with a wrong one that is a picture's: the bytes decide.
        for kind in (None, "application/x-www-form-urlencoded", "image/webp", "application/octet-stream"):
            response = await client.post(URL, content=changed, headers={"Content-Type": kind} if kind else {})
            body = response.json()
            assert (body["result"], body["changed_pixels"], body["box"]) == ("altered", 1, [3, 10, 4, 11])
            assert body["changed_addresses"] == [str(addresses[3])]
            painted = pixels_of(base64.b64decode(body["difference"]))
            assert np.argwhere(painted[..., 0] > painted[..., 2]).tolist() == [[10, 3]]

    serve(scenario)


@pytest.mark.parametrize(
    ("text", "result", "words"),
    [
        ("nope/1.0.0/7/0", "unknown_model", "there is no model 'nope'"),
        ("tiny/9.9.9/7/0?label=0", "unknown_model", "there is no version 9.9.9"),
        ("tiny/1.0.0/8/1?label=2", "another_image", "foreign"),
    ],
)
def test_marks_of_something_else_are_a_result(
    serve: Callable[..., None], sampler: Sampler, text: str, result: str, words: str
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post(URL, content=make(sampler, text=text))
        assert (response.status_code, response.json()["result"]) == (200, result)
        assert words in response.json()["detail"]

    serve(scenario)


def test_a_picture_without_marks_is_a_result(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post(URL, content=png.encode_png(np.zeros((8, 8, 1), np.uint8)))
        assert (response.status_code, response.json()["result"]) == (200, "no_marks")

    serve(scenario)


def test_a_model_of_the_store_that_is_not_served_is_not_loaded(
    serve: Callable[..., None], sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        monkeypatch.setattr("service.registry.store.find_version", lambda *_: pytest.fail("looked for"))
        response = await client.post(URL, content=make(sampler, text="other/1.0.0/7/0"))
        assert response.json()["result"] == "unknown_model"

    serve(scenario, models="tiny")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("../../etc/passwd", "addresses[0].model"),
        ("tiny/../7/0", "addresses[0].version"),
        ("tiny/1.0.0/7/99999999999999999999", "addresses[0].index"),
        ("tiny/1.0.0/7/0?label=0\ntiny/1.0.0/7/1?label=3", "addresses[1].label"),
        ("tiny/1.0.0/7/0\nother/1.0.0/7/0", "addresses"),
        ("tiny/1.0.0/" + "7" * 65_000, "addresses[0]"),
        ("\n".join(["tiny/1.0.0/7/0?label=0"] * 17), "addresses"),
    ],
)
def test_bad_addresses_are_refused_naming_them(
    serve: Callable[..., None], sampler: Sampler, text: str, field: str
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post(URL, content=make(sampler, text=text))
        assert (response.status_code, response.headers["content-type"]) == (422, "application/problem+json")
        assert [error["field"] for error in response.json()["errors"]] == [field]
        assert len(response.content) < 1_000

    serve(scenario, max_n=16)


@pytest.mark.parametrize(
    ("content", "headers", "status", "words"),
    [
        (b"", {}, 422, "is no PNG, JPEG or WebP file"),
        (b"GIF89a", {}, 422, "is no PNG, JPEG or WebP file"),
        (b"{}", {"Content-Type": "application/json"}, 415, "curl: --data-binary @FILE"),
        (b"--x", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "send the file itself"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 5_000, {}, 413, "larger than 4096 bytes"),
        (b"", {"Ganmint-Timeout-S": "soon"}, 422, "number of seconds"),
    ],
)
def test_what_is_no_picture_is_refused(
    serve: Callable[..., None], content: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.post(URL, content=content, headers=headers)
        assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
        assert words in response.json()["detail"]
        assert (await client.get(URL)).status_code == 405

    serve(scenario, max_file_bytes=4096)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_file_that_is_cut_or_damaged_anywhere_is_never_a_500(
    serve: Callable[..., None], sampler: Sampler, media_type: MediaType
) -> None:
    whole = make(sampler, media_type=media_type)
    cut = [whole[:length] for length in range(0, len(whole), 29)]
    damaged = [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(0, len(whole), 29)]

    async def scenario(client: httpx.AsyncClient) -> None:
        for content in (*cut, *damaged):
            response = await client.post(URL, content=content)
            assert response.status_code in (200, 422), response.text
        assert (await client.post(URL, content=whole)).json()["result"] == "identical"

    serve(scenario)


def test_a_monstrous_size_is_answered_without_decoding(
    serve: Callable[..., None], sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(sampler)
    header = (60_000).to_bytes(4, "big") * 2 + file[24:29]
    bomb = file[:8] + png.make_chunk(b"IHDR", header) + file[33:]
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("decoded"))

    async def scenario(client: httpx.AsyncClient) -> None:
        body = (await client.post(URL, content=bomb)).json()
        assert (body["result"], body["width"]) == ("another_image", 60_000)

    serve(scenario)


def test_a_key_is_needed_before_the_body_is_read_and_pays_for_the_images(
    serve: Callable[..., None], sampler: Sampler
) -> None:
    secret, record = create_key("a")
    keys = json.dumps([{**record.model_dump(), "images_per_minute": 10}])

    async def never_ends() -> Any:
        yield b"\x89PNG"
        raise AssertionError("the body was read")

    async def scenario(client: httpx.AsyncClient) -> None:
        refused = await client.post(URL, content=never_ends())
        assert refused.status_code == 401
        client.headers["Authorization"] = f"Bearer {secret}"
        response = await client.post(URL, content=make(sampler, 9))
        assert response.status_code == 200 and '"images";r=1' in response.headers["ratelimit"]
        assert (await client.post(URL, content=make(sampler, 2))).status_code == 429
        # A picture without marks costs no image.
        assert (await client.post(URL, content=png.encode_png(np.zeros((8, 8, 1), np.uint8)))).status_code == 200

    serve(scenario, api_keys=keys)


def test_a_queue_without_room_refuses_at_once(serve: Callable[..., None], sampler: Sampler) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        jobs = (client.post(URL, content=make(sampler, 4)) for _ in range(8))
        responses = await asyncio.gather(*jobs)
        assert {response.status_code for response in responses} == {200, 429}
        assert all(response.headers["retry-after"] for response in responses if response.status_code == 429)

    serve(scenario, max_n=4, queue_images=4)


def test_large_files_beyond_a_few_are_refused(
    serve: Callable[..., None], sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MAX_LARGE_FILES", 1)
    grid, single = make(sampler, verify.MAX_SMALL_IMAGES + 1), make(sampler)

    async def unknown_length() -> Any:
        yield single

    gate = threading.Event()
    compare = verification.compare

    def wait_and_compare(*arguments: Any, **options: Any) -> Any:
        gate.wait(TIMEOUT_S)
        return compare(*arguments, **options)

    # So that the one that is let in has not ended when the others come, however busy the machine is.
    monkeypatch.setattr(verification, "compare", wait_and_compare)

    async def scenario(client: httpx.AsyncClient) -> None:
        bodies = [grid, grid, unknown_length(), single, single]
        requests = [asyncio.create_task(client.post(URL, content=body)) for body in bodies]
        try:
            refused = [await request for request in itertools.islice(asyncio.as_completed(requests), 2)]
        finally:
            gate.set()
        assert [response.status_code for response in refused] == [429, 429]
        responses = await asyncio.gather(*requests)
        assert sorted(response.status_code for response in responses) == [200, 200, 200, 429, 429]
        assert [response.status_code for response in responses[3:]] == [200, 200]
        # Each made room when it ended.
        assert (await client.post(URL, content=grid)).json()["result"] == "identical"

    serve(scenario)


@pytest.mark.parametrize("step", ["read_claim", "compare"])
def test_a_late_thread_is_answered_for_and_its_file_counts_until_it_ends(
    serve: Callable[..., None], sampler: Sampler, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(verify, "MAX_LARGE_FILES", 1)
    grid = make(sampler, verify.MAX_SMALL_IMAGES + 1)
    function = getattr(verification, step)
    gate = threading.Event()

    def wait_and_call(*arguments: Any, **options: Any) -> Any:
        gate.wait(TIMEOUT_S)
        return function(*arguments, **options)

    async def unknown_length() -> Any:
        yield grid

    async def scenario(client: httpx.AsyncClient) -> None:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(verification, step, wait_and_call)
                late = await client.post(URL, content=unknown_length(), headers={"Ganmint-Timeout-S": "0.5"})
            assert (late.status_code, "0.5 s" in late.json()["detail"]) == (504, True)
            assert (await client.post(URL, content=unknown_length())).status_code == 429
        finally:
            gate.set()

        async def has_room() -> bool:
            return (await client.post(URL, content=unknown_length())).status_code == 200

        await wait_until_async(has_room, "the thread has ended")

    serve(scenario)


def test_the_pages_have_words_for_every_result() -> None:
    page = (Path(verify.__file__).parent / "static/play/verify.mjs").read_text()
    words = page.partition("const RESULTS = {")[2].partition("}")[0]
    assert set(re.findall(r"(\w+): '", words)) == set(get_args(Result))
    bad = page.partition("const BAD = [")[2].partition("]")[0]
    # What cannot be known is neither good nor bad.
    assert set(re.findall(r"'(\w+)'", bad)) == set(get_args(Result)) - GOOD - {"no_marks", "unknown_model"}


def test_the_description_has_the_route_and_every_field_of_its_answer(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        description = (await client.get("/openapi.json")).json()
        route = description["paths"][URL]["post"]
        assert set(MEDIA_TYPES) <= route["requestBody"]["content"].keys()
        assert {"200", "413", "415", "422", "429"} <= route["responses"].keys()
        fields = description["components"]["schemas"]["VerifyResponse"]["properties"]
        response = await client.post(URL, content=png.encode_png(np.zeros((8, 8, 1), np.uint8)))
        assert response.json().keys() == fields.keys()

    serve(scenario)
