"""A path prefix behind a proxy: from the setting, and from a header that the operator trusts."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

BODY = b'{"model": "tiny", "seed": 7}'
IMAGE = "/v1/images/tiny/1.0.0/7/0.png"


@pytest.mark.parametrize("prefix", ["", "/images/v2"], ids=["removed", "kept"])
def test_under_a_prefix_everything_leads_to_it(serve: Callable[..., None], prefix: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        image = await client.get(f"{prefix}/v1/images/tiny/1.0.0/7/0.png")
        assert image.headers["content-type"] == "image/png"
        assert (await client.post(f"{prefix}/generate", content=BODY)).status_code == 200
        slash = await client.post(f"{prefix}/generate/", content=BODY)
        assert slash.headers["location"] == "http://t/images/v2/generate"
        assert '"/images/v2/openapi.json"' in (await client.get(f"{prefix}/docs")).text.replace("'", '"')
        description = (await client.get(f"{prefix}/openapi.json")).json()
        assert description["servers"] == [{"url": "/images/v2"}]
        assert (await client.get(f"{prefix}/")).headers["content-type"].startswith("text/html")
        hint = await client.get(f"{prefix}/v1/images/tiny/1.0.0/7/0")
        assert hint.status_code == 404 and ".webp" in hint.json()["detail"]
        # The page's links are relative, and need the slash.
        assert (await client.get("/images/v2")).headers["location"] == "http://t/images/v2/"
        text = (await client.get("/metrics")).text
        assert 'route="/generate"' in text and 'route="/v1/images/{model}' in text

    serve(scenario, root_path="/images/v2")


async def read_links(client: httpx.AsyncClient, *headers: tuple[str, str]) -> set[str]:
    """Return the prefixes of all that a response may link to."""
    image = await client.get(IMAGE, headers=headers)
    moved = await client.post("/generate/", content=BODY, headers=headers)
    text = await client.get("/v1/of/tiny/hello.png", headers=headers)
    docs = (await client.get("/docs", headers=headers)).text.replace("'", '"')
    urls = [
        image.headers["content-location"].removesuffix(IMAGE + "?label=" + image.headers["content-location"][-1]),
        moved.headers["location"].removeprefix("http://t").removesuffix("/generate"),
        text.headers["location"].partition("/v1/images/")[0],
        docs.partition("/openapi.json")[0].rpartition('"')[2],
        *(row["url"] for row in (await client.get("/openapi.json", headers=headers)).json().get("servers", [])),
    ]
    assert (await client.get("/", headers=headers)).status_code == 200
    return set(urls)


@pytest.mark.parametrize(
    ("sent", "prefix"),
    [
        ([], "/own"),
        (["/mint"], "/mint"),
        (["/a/b.c/"], "/a/b.c"),
        (["/"], "/own"),
        (["//evil.example"], "/own"),
        (["https://evil.example"], "/own"),
        (["/a/, /b"], "/own"),
        (["/a", "/b"], "/own"),
        (['/a"><script>'], "/own"),
    ],
)
def test_a_trusted_header_names_the_prefix(serve: Callable[..., None], sent: list[str], prefix: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert await read_links(client, *(("X-Forwarded-Prefix", value) for value in sent)) == {prefix}

    serve(scenario, root_path="/own", trust_forwarded_prefix=True)


@pytest.mark.parametrize("root_path", ["", "/own"])
def test_a_header_that_any_caller_may_send_names_nothing(serve: Callable[..., None], root_path: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert await read_links(client, ("X-Forwarded-Prefix", "/evil")) == {root_path}

    serve(scenario, root_path=root_path)
