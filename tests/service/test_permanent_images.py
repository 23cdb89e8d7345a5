"""Images at their permanent addresses: what may keep them, and what refuses a wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from service.auth import create_key


def test_a_permanent_image_is_immutable_and_gives_304(serve: Callable[..., None]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        url = "/v1/images/tiny/1.0.0/7/0.png"
        response = await client.get(url)
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        etag = response.headers["etag"]
        assert etag.startswith('"')
        cached = await client.get(url, headers={"If-None-Match": etag})
        assert (cached.status_code, cached.content, cached.headers["etag"]) == (304, b"", etag)
        other_label = (int(response.headers["ganmint-address"].partition("label=")[2]) + 1) % 3
        others = [
            url + f"?label={other_label}",
            url + "?psi=0.5",
            url.replace("/0.png", "/0.webp"),
            url.replace("/0.png", "/1.png"),
        ]
        tags = {(await client.get(other)).headers["etag"] for other in others}
        assert len(tags | {etag}) == 5
        head = await client.head(url)
        assert (head.status_code, head.headers["etag"]) == (200, etag)

    serve(scenario)


@pytest.mark.parametrize("path", ["/v1/images/tiny/1.0.0/7/0", "/v1/of/tiny/ada"])
def test_an_image_url_without_an_ending_says_which_are_possible(serve: Callable[..., None], path: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(f"{path}?label=1")
        assert response.status_code == 404
        detail = f"GET {path}: the URL of an image ends in .png, .jpg or .webp; add one to it"
        assert response.json()["detail"] == detail

    serve(scenario)


@pytest.mark.parametrize(
    ("path", "field"),
    # The rules of an address are tested in tests/models/test_address.py; here one row for each field.
    [
        ("Tiny/1.0.0/7/0.png", "model"),
        ("tiny/latest/7/0.png", "version"),
        ("tiny/1.0.0/9007199254740992/0.png", "seed"),
        ("tiny/1.0.0/7/-1.png", "index"),
        ("tiny/1.0.0/7/0.png?label=3", "label"),
        ("tiny/1.0.0/7/0.png?psi=2", "psi"),
        ("tiny/1.0.0/7/0.png?lable=1", "address"),
        # The query is taken as it is sent, with escapes and repetitions.
        ("tiny/1.0.0/7/0.png?label=%31", "label"),
        ("tiny/1.0.0/7/0.png?label=1&label=2", "label"),
    ],
)
def test_a_bad_permanent_address_is_refused_naming_the_field(serve: Callable[..., None], path: str, field: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        response = await client.get(f"/v1/images/{path}")
        assert response.status_code == 422, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert [error["field"] for error in response.json()["errors"]] == [field]

    serve(scenario)


@pytest.mark.parametrize(("settings", "sharing"), [({}, "private"), ({"public_images": True}, "public")])
def test_with_keys_only_the_operator_makes_images_public(
    serve: Callable[..., None], settings: dict[str, bool], sharing: str
) -> None:
    secret, key = create_key("alice")
    limited = key.model_copy(update={"requests_per_minute": 2})

    async def scenario(client: httpx.AsyncClient) -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        image = await client.get("/v1/images/tiny/1.0.0/7/0.png", headers=headers)
        again = await client.get("/v1/images/tiny/1.0.0/7/0.png", headers=headers)
        matching = {**headers, "If-None-Match": image.headers["etag"]}
        same = await client.get("/v1/images/tiny/1.0.0/7/0.png", headers=matching)
        assert [response.status_code for response in (image, again, same)] == [200, 200, 304]
        for response in (image, again, same):
            assert response.headers["cache-control"] == f"{sharing}, max-age=31536000, immutable"
            assert not [name for name in response.headers if name.startswith("ratelimit")]
        refused = await client.get("/v1/images/tiny/1.0.0/7/0.png", headers=headers)
        assert (refused.status_code, refused.headers["cache-control"]) == (429, "no-store")
        assert "ratelimit" in refused.headers

    serve(scenario, api_keys=json.dumps([limited.model_dump()]), **settings)


@pytest.mark.parametrize("path", ["/v1/images/tiny/9.0.0/7/0.png", "/v1/models/tiny/1.0.0", "/v1/models", "/readyz"])
def test_nothing_but_a_permanent_image_is_cached(serve: Callable[..., None], path: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await client.get(path)).headers["cache-control"] == "no-store"

    serve(scenario)


@pytest.mark.parametrize("origins", ["https://app.example", "*"])
def test_a_cached_image_says_that_it_depends_on_the_origin(serve: Callable[..., None], origins: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for origin in ({}, {"Origin": "https://app.example"}, {"Origin": "https://evil.example"}):
            image = await client.get("/v1/images/tiny/1.0.0/7/0.png", headers=origin)
            assert image.headers["vary"] == "Origin"
            same = await client.get(
                "/v1/images/tiny/1.0.0/7/0.png", headers={**origin, "If-None-Match": image.headers["etag"]}
            )
            assert (same.status_code, same.headers["vary"]) == (304, "Origin")

    serve(scenario, cors_origins=origins)


@pytest.mark.parametrize("path", ["/", "/play", "/mint/mint.css"])
def test_a_page_is_asked_for_again_each_time(serve: Callable[..., None], path: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        page = await client.get(path)
        assert page.headers["cache-control"] == "no-cache"
        again = await client.get(path, headers={"If-None-Match": page.headers["etag"]})
        assert again.status_code == 304

    serve(scenario)
