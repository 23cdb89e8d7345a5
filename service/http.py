"""The HTTP interface: parse, validate, resolve addresses, answer.

Knows: the routes and what each answers. Does not know: how images are minted or batched
(service.batcher), which file makes them (service.registry), how errors look (service.errors).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata, resources
from typing import Any

import numpy as np
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models import images
from models.address import SampleAddress
from models.images import EXTENSIONS, MEDIA_TYPES, MediaType
from models.latents import MAX_INTEGER
from service import errors
from service.errors import BodyTooLargeError, InvalidRequestError, NotReadyError
from service.metrics import Metrics
from service.negotiation import JSON, check_json, choose, matches
from service.registry import Registry, Served
from service.schemas import GenerateRequest, GenerateResponse, Problem
from service.settings import Settings

OFFERS = (JSON, *MEDIA_TYPES)
IMAGE_ROUTE = "/v1/images/{model}/{version}/{seed}/{index}.{extension}"
IMMUTABLE = "public, max-age=31536000, immutable"
# The page's script and style are inline; nothing else may run or load.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": title, "content": {errors.MEDIA_TYPE: {}}}
    for status, title in {
        400: "The body is not JSON",
        404: "No such model or version",
        406: "Not acceptable",
        413: "The body is too large",
        415: "The body is not sent as JSON",
        422: "A field is wrong; `errors` names it",
        429: "Too many images are waiting",
        503: "Not ready",
    }.items()
}
router = APIRouter()


@dataclass(frozen=True)
class Minted:
    """The images of one request, before they are encoded."""

    served: Served
    addresses: list[SampleAddress]
    pixels: NDArray[np.uint8]


def create_app(settings: Settings) -> FastAPI:
    """The application; its lifespan loads the models in the background and stops with it."""
    metrics = Metrics()
    registry = Registry(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In the background: /livez answers while models load, /readyz when they are proved.
        loading = asyncio.create_task(_load(registry, settings.announce_url))
        yield
        loading.cancel()
        await registry.stop()

    app = FastAPI(
        title="Ganmint",
        version=metadata.version("ganmint"),
        description="Synthetic images from seeds. The same address gives the same bytes.",
        lifespan=lifespan,
    )
    app.state.settings, app.state.registry, app.state.metrics = settings, registry, metrics
    app.include_router(router)
    errors.install(app)
    app.add_middleware(RequestMetrics, metrics=metrics)
    return app


@router.post(
    "/generate",
    response_model=GenerateResponse,
    responses={200: {"content": {media: {} for media in MEDIA_TYPES}}, **PROBLEMS},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": GenerateRequest.model_json_schema()}},
        }
    },
)
async def generate(request: Request) -> Response:
    """Mint n images; `Accept` decides the form.

    `application/json` (default) lists the images as base64 PNG; `image/png`, `image/jpeg` and
    `image/webp` answer one picture: the image itself, or a grid where n is above 1.
    """
    media_type = choose(request.headers.get("accept"), OFFERS)
    wanted = await _parse(request)
    served = await _registry(request).get(wanted.model, wanted.version)
    seed = secrets.randbelow(MAX_INTEGER + 1) if wanted.seed is None else wanted.seed
    addresses = served.manifest.addresses(seed, wanted.index, wanted.n, wanted.labels, wanted.psi)
    minted = Minted(served, addresses, await served.batcher.mint(addresses))
    if media_type == JSON:
        body = await _encoded(request, _as_json, minted)
        return Response(body, media_type=JSON)
    body = await _encoded(request, _as_picture, minted, media_type)
    return Response(body, media_type=media_type, headers=_address_headers(minted))


@router.head(IMAGE_ROUTE, include_in_schema=False)
@router.get(
    IMAGE_ROUTE,
    response_class=Response,
    responses={
        200: {"content": {media: {} for media in MEDIA_TYPES}},
        304: {"description": "Not modified"},
        **{k: v for k, v in PROBLEMS.items() if k in (404, 422, 429, 503)},
    },
)
async def permanent_image(
    request: Request, model: str, version: str, seed: str, index: str, extension: str, label: str = "", psi: str = ""
) -> Response:
    """One image at its permanent address; any HTTP cache may keep it for good."""
    if extension not in EXTENSIONS:
        raise HTTPException(404, f"no such format {extension!r}; there are: {', '.join(EXTENSIONS)}")
    given = "&".join(f"{name}={value}" for name, value in (("label", label), ("psi", psi)) if value)
    asked = SampleAddress.parse(f"{model}/{version}/{seed}/{index}" + (f"?{given}" if given else ""))
    served = await _registry(request).get(model, version)
    address = served.manifest.check(asked)
    media_type = EXTENSIONS[extension]
    identity = f"{address}|{media_type}|{served.digest}|{served.fingerprint}"
    etag = f'"{hashlib.sha256(identity.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE, "Ganmint-Address": str(address)}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    minted = Minted(served, [address], await served.batcher.mint([address]))
    body = await _encoded(request, _as_picture, minted, media_type)
    return Response(body, media_type=media_type, headers=headers)


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The newest version of every model, with its card."""
    return {"models": [served.manifest.model_dump(mode="json") for served in _registry(request).newest()]}


@router.get("/v1/models/{model}", responses={k: PROBLEMS[k] for k in (404, 422, 503)})
async def newest_card(request: Request, model: str) -> dict[str, Any]:
    """The card of a model's newest version."""
    return (await _registry(request).get(model)).manifest.model_dump(mode="json")


@router.get("/v1/models/{model}/{version}", responses={k: PROBLEMS[k] for k in (404, 422, 503)})
async def card(request: Request, model: str, version: str) -> dict[str, Any]:
    """The card of one version."""
    return (await _registry(request).get(model, version)).manifest.model_dump(mode="json")


@router.get("/livez")
async def livez() -> dict[str, str]:
    """200 while the event loop turns."""
    return {"status": "live"}


@router.get("/readyz", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> dict[str, Any]:
    """200 once the models are loaded and their hashes and goldens passed."""
    registry = _registry(request)
    if not registry.ready:
        raise NotReadyError("no model is loaded and checked yet")
    return {
        "status": "ready",
        "models": [f"{s.manifest.name}/{s.manifest.version}" for s in registry.newest()],
        "broken": [f"{name}/{version}" for name, version in registry.broken()],
    }


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """One small page for people."""
    text = resources.files("service").joinpath("static").joinpath("index.html").read_text(encoding="utf-8")
    return HTMLResponse(text, headers={"Content-Security-Policy": PAGE_POLICY})


def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


async def _load(registry: Registry, url: str) -> None:
    await registry.start()
    if url and registry.ready:
        name = registry.newest()[0].manifest.name
        body = json.dumps({"model": name, "seed": 7, "n": 64})
        print(f"Ready on {url}\n  curl -s {url}/generate -H 'Accept: image/png' -d '{body}' -o grid.png", flush=True)


async def _parse(request: Request) -> GenerateRequest:
    check_json(request.headers.get("content-type"))
    settings: Settings = request.app.state.settings
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > settings.max_body_bytes:
            raise BodyTooLargeError(f"the body has more than {settings.max_body_bytes} bytes")
    try:
        wanted = GenerateRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        raise errors.invalid_request(error) from None
    if wanted.n > settings.max_n:
        raise InvalidRequestError(
            [("n", f"must be at most {settings.max_n}, got {wanted.n}; ask again with a higher index for more")]
        )
    return wanted


async def _encoded(request: Request, encode: Any, *args: Any) -> bytes:
    """Run an encoder off the event loop; Pillow releases the GIL."""
    started = time.perf_counter()
    body: bytes = await asyncio.to_thread(encode, *args)
    request.app.state.metrics.encode.observe(time.perf_counter() - started)
    return body


def _as_json(minted: Minted) -> bytes:
    card = minted.served.manifest
    listed = []
    for address, pixels in zip(minted.addresses, minted.pixels):
        text = str(address)
        listed.append(
            {
                "address": text,
                "index": address.index,
                "label": address.label,
                "label_name": card.label_name(address.label),
                "psi": address.psi,
                "media_type": "image/png",
                "b64": base64.b64encode(images.encode(pixels, "image/png", text)).decode(),
            }
        )
    first = minted.addresses[0]
    answer = {"model": card.name, "version": card.version, "seed": first.seed, "images": listed}
    return json.dumps(answer, separators=(",", ":")).encode()


def _as_picture(minted: Minted, media_type: MediaType) -> bytes:
    return images.encode_one_or_grid(minted.pixels, media_type, [str(a) for a in minted.addresses])


def _address_headers(minted: Minted) -> dict[str, str]:
    """What makes the picture again: its address, or for a grid the parts that its images share."""
    first = minted.addresses[0]
    if len(minted.addresses) == 1:
        return {"Ganmint-Address": str(first), "Ganmint-Seed": str(first.seed)}
    headers = {
        "Ganmint-Model": f"{first.model}/{first.version}",
        "Ganmint-Seed": str(first.seed),
        "Ganmint-Index": str(first.index),
        "Ganmint-Count": str(len(minted.addresses)),
        "Ganmint-Psi": repr(first.psi),
    }
    if first.label is not None:
        headers["Ganmint-Labels"] = ",".join(str(address.label) for address in minted.addresses)
    return headers


class RequestMetrics:
    """Counts and times requests by route template, so that strangers' paths cannot grow the series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.duration.labels(route).observe(time.perf_counter() - started)
            if status in (429, 503) and route != "/readyz":
                self._metrics.shed.labels("queue_full" if status == 429 else "not_ready").inc()


_METHODS: Sequence[str] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
