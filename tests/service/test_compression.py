"""Content codings of bodies, alone and over HTTP."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest

from service.compression import MIN_BYTES, decode_body
from service.errors import BodyTooLargeError, MalformedGzipError, UnsupportedEncodingError
from service.negotiation import accepts_gzip

BODY = json.dumps({"model": "tiny", "seed": 7, "n": 3}).encode()


@pytest.mark.parametrize("coding", [None, "", "identity", "gzip", "X-GZip"])
def test_a_body_is_decoded_as_its_header_says(coding: str | None) -> None:
    is_zipped = bool(coding) and "gzip" in (coding or "").lower()
    assert decode_body(gzip.compress(BODY) if is_zipped else BODY, coding, 1000) == BODY


def test_a_body_of_the_largest_size_is_decoded_and_a_larger_one_refused_unread() -> None:
    assert len(decode_body(gzip.compress(bytes(1000)), "gzip", 1000)) == 1000
    for size in (1001, 100_000_000):
        with pytest.raises(BodyTooLargeError, match="1000 bytes"):
            decode_body(gzip.compress(bytes(size), 1), "gzip", 1000)


@pytest.mark.parametrize(
    "body",
    [b"", BODY, gzip.compress(BODY)[:-1], gzip.compress(BODY) + b"x", gzip.compress(BODY) * 2, zlib.compress(BODY)],
    ids=["empty", "plain", "cut", "more", "twice", "zlib"],
)
def test_what_is_not_one_whole_gzip_stream_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedGzipError, match="gzip"):
        decode_body(body, "gzip", 1000)


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_other_codings_are_refused_saying_which_are_possible(coding: str) -> None:
    with pytest.raises(UnsupportedEncodingError, match=coding) as refusal:
        decode_body(BODY, coding, 1000)
    assert refusal.value.headers == {"Accept-Encoding": "gzip, identity"}


@pytest.mark.parametrize(
    ("header", "is_accepted"),
    [(None, False), ("", False), ("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0, *", False), ("*", True)],
)
def test_accept_encoding_allows_gzip(header: str | None, is_accepted: bool) -> None:
    assert accepts_gzip(header) is is_accepted


def test_bodies_may_be_zipped_and_may_begin_with_a_byte_order_mark(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        expected = (await client.post("/generate", content=BODY)).json()
        assert len(expected["images"]) == 3
        marked = await client.post("/generate", content=codecs.BOM_UTF8 + BODY)
        zipped = await client.post("/generate", content=gzip.compress(BODY), headers={"Content-Encoding": "gzip"})
        assert marked.json() == zipped.json() == expected
        for content, coding, title in ((BODY, "gzip", "The body is not gzip"), (b"{", "", "The body is not JSON")):
            broken = await client.post("/generate", content=content, headers={"Content-Encoding": coding})
            assert (broken.status_code, broken.json()["title"]) == (400, title)
        other = await client.post("/generate", content=BODY, headers={"Content-Encoding": "br"})
        assert (other.status_code, other.headers["accept-encoding"]) == (415, "gzip, identity")
        bomb = gzip.compress(bytes(50_000_000), 1)[:60_000]
        assert (await client.post("/generate", content=bomb, headers={"Content-Encoding": "gzip"})).status_code == 413

    serve(scenario)


def test_large_json_is_zipped_on_request_and_nothing_else(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        async def post(n: int, coding: str, accept: str = "application/json") -> httpx.Response:
            body = {"model": "tiny", "seed": 7, "n": n}
            return await client.post("/generate", json=body, headers={"Accept-Encoding": coding, "Accept": accept})

        plain = await post(300, "identity")
        zipped = await post(300, "gzip")
        assert "content-encoding" not in plain.headers
        assert (zipped.headers["content-encoding"], zipped.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert MIN_BYTES < int(zipped.headers["content-length"]) < int(plain.headers["content-length"])
        assert zipped.json() == plain.json()
        for other in (await post(1, "gzip"), await post(300, "gzip", "application/zip")):
            assert (other.status_code, "content-encoding" in other.headers) == (200, False)
        head = await client.head("/openapi.json", headers={"Accept-Encoding": "gzip"})
        assert (head.status_code, head.content) == (200, b"")

    serve(scenario)
