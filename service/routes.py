"""The HTTP routes: identify the caller, parse, resolve addresses, charge, mint, respond.

Not here: batching (service.batcher), loading models (service.registry), response bodies (service.responses),
error statuses (service.errors).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from functools import partial
from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from models import images
from models.address import NAME, VERSION, Address
from models.images import EXTENSIONS, MEDIA_TYPES, MediaType
from models.latents import MAX_INTEGER
from service import errors, responses
from service.auth import Authenticator
from service.deadline import Deadline
from service.image_cache import CachedImage, ImageCache, ImageKey
from service.loaded_model import LoadedModel
from service.metrics import Metrics
from service.negotiation import JSON, TIMEOUT_HEADER, choose_media_type, etag_matches, parse_timeout_s
from service.rate_limits import check_cost
from service.registry import Registry
from service.request_body import read_generate_request
from service.request_state import add_to_log, charge, check_key, get_registry, get_settings, wait_while_connected
from service.responses import NPZ, ZIP, ArchiveResponse
from service.schemas import GenerateRequest, GenerateResponse, Problem

OFFERS = (JSON, *MEDIA_TYPES, ZIP, NPZ)
IMAGE_ROUTE = "/v1/images/{model}/{version}/{seed}/{index}.{extension}"
# The rest of Cache-Control, behind who may keep an image.
IMMUTABLE = "max-age=31536000, immutable"
# Above this many images, making the addresses would block the event loop for too long.
MAX_INLINE_ADDRESSES = 64
# The page's own script and style are inline, and it shares files with /play; nothing else may run or load.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": title, "content": {errors.MEDIA_TYPE: {}}}
    for status, title in errors.TITLES.items()
    if status != 499
}
MANIFEST_PROBLEMS: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (404, 422, 503)}
# For the API description only; models.address refuses what is wrong, with its own error texts.
NamePath = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"}, examples=["digits"])]
VersionPath = Annotated[str, Path(json_schema_extra={"pattern": f"^{VERSION.pattern}$"}, examples=["1.0.0"])]
SeedPath = Annotated[str, Path(json_schema_extra={"pattern": "^(z|0|[1-9][0-9]{0,14})$"}, examples=["7"])]
IndexPath = Annotated[str, Path(json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"}, examples=["0"])]
EDITS = [
    {"name": "label", "in": "query", "schema": {"type": "integer", "minimum": 0}},
    {"name": "psi", "in": "query", "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}},
    {"name": "to", "in": "query", "schema": {"type": "string", "pattern": r"^[0-9]{1,16}\.[0-9]{1,16}$"}},
    {"name": "tolabel", "in": "query", "schema": {"type": "integer", "minimum": 0}},
    {"name": "at", "in": "query", "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}},
    {
        "name": "paste",
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string", "pattern": r"^[0-9]+_[0-9]+\.[0-9]+(_[0-9]+){4,5}$"}},
    },
]
router = APIRouter()


@router.post(
    "/generate",
    response_model=GenerateResponse,
    responses={200: {"content": {media: {} for media in OFFERS[1:]}}, **PROBLEMS},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": GenerateRequest.model_json_schema()}},
        }
    },
)
async def generate(request: Request) -> Response:
    """Mint n images; the `Accept` header chooses the format.

    `application/json` (default) lists the images as base64 PNG; `image/png`, `image/jpeg` and
    `image/webp` give one picture: the image itself, or a grid where n is above 1;
    `application/zip` is PNG files with metadata.jsonl, `application/x-npz` NumPy arrays. The header
    `Ganmint-Timeout-S` shortens the time after which the service responds with 504.
    """
    settings = get_settings(request)
    api_key = check_key(request)
    media_type = choose_media_type(request.headers.get("accept"), OFFERS)
    with Deadline(parse_timeout_s(request.headers.get(TIMEOUT_HEADER), settings.timeout_s)) as deadline:
        params = await read_generate_request(request, settings, deadline)
        add_to_log(request, model=params.model, n=params.num_images)
        check_cost(api_key, params.num_images, "n" if params.latents is None else "latents")
        model = await get_registry(request).get(params.model, params.version)
        # Before the addresses are made: refusals must stay cheap under overload.
        model.batcher.check_room(params.num_images, deadline.remaining_s)
        addresses = await _make_addresses(model, params)
        rate_limit_headers = await charge(request, api_key, params.num_images, model, deadline)
        headers = {**responses.make_address_headers(addresses), **rate_limit_headers}
        if media_type in (ZIP, NPZ):
            return await _stream_archive(model, addresses, media_type, deadline, headers)
        if media_type == JSON:
            with model.batcher.submit(addresses, "image/png", deadline) as pending:
                files = await wait_while_connected(request, pending, pending.wait_for_files)
            body = responses.encode_json(model.manifest, addresses, files)
            return Response(body, media_type=JSON, headers=rate_limit_headers)
        picture_type: MediaType = next(media for media in MEDIA_TYPES if media == media_type)
        picture = await _render_picture(request, model, addresses, picture_type, deadline)
        return Response(picture, media_type=picture_type, headers=headers)


@router.get(
    IMAGE_ROUTE,
    response_class=Response,
    responses={
        200: {"content": {media: {} for media in MEDIA_TYPES}},
        304: {"description": "Not modified"},
        **{status: problem for status, problem in PROBLEMS.items() if status not in (400, 406, 408, 413, 415)},
    },
    openapi_extra={"parameters": EDITS},
)
async def permanent_image(
    request: Request, model: NamePath, version: VersionPath, seed: SeedPath, index: IndexPath, extension: str
) -> Response:
    """Return one image at its permanent address.

    Any HTTP cache may keep it for ever; with API keys, only the caller's own, unless the operator says otherwise.
    `to`, `tolabel` and `at` mix the latent and the class with a second one, `zK=V` sets dimension K of the latent to V.
    `paste=L_SEED.INDEX_LABEL_Y0_X0_Y1_X1` copies feature maps from another image, `uL.U=V` sets one to V.
    In place of seed and index, `z/` and base64url of float32 values are a latent that is written out.
    """
    if extension not in EXTENSIONS:
        raise HTTPException(404, f"no such format {extension!r}; the formats are: {', '.join(EXTENSIONS)}")
    api_key = check_key(request)
    deadline = Deadline(parse_timeout_s(request.headers.get(TIMEOUT_HEADER), get_settings(request).timeout_s))
    add_to_log(request, model=model, n=1)
    # The raw query: an address has no escapes, no unknown parts, nothing twice.
    query = request.scope["query_string"].decode("latin-1")
    text = f"{model}/{version}/{seed}/{index}" + (f"?{query}" if query else "")
    media_type = EXTENSIONS[extension]
    cache: ImageCache = request.app.state.image_cache
    registry = get_registry(request)
    digest = registry.find_digest(model, version)
    known_etag = request.headers.get("if-none-match")
    if digest and (cached := cache.find(ImageKey(text, media_type, digest))):
        if not etag_matches(known_etag, cached.etag):
            await charge(request, api_key)
        return _respond_with_image(request, cached, extension)
    parsed_address = Address.parse(text)
    with deadline:
        loaded_model = await registry.get(model, version)
        address = loaded_model.manifest.check(parsed_address)
        image = CachedImage(str(address), _make_etag(loaded_model, address, media_type), b"")
        if not etag_matches(known_etag, image.etag):
            await charge(request, api_key, 1, loaded_model, deadline)
            file = await _render_picture(request, loaded_model, [address], media_type, deadline)
            image = image._replace(file=file)
            cache.add(ImageKey(text, media_type, loaded_model.digest), image)
        return _respond_with_image(request, image, extension)


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """List the models.

    `models` has the manifest of every model's newest version, `broken` the versions that failed their checks, with
    the reason, and `runtimes` what runs each loaded version here: `padded` says that an image's bits depend on its
    batch, so that every batch is filled up; byte identity is promised within one `fingerprint`.
    """
    registry = get_registry(request)
    return {
        "models": [model.manifest.model_dump(mode="json") for model in registry.list_newest()],
        "broken": _describe_load_errors(registry),
        "runtimes": [_describe_runtime(model) for model in registry.list_loaded()],
    }


@router.get("/v1/models/{model}", responses=MANIFEST_PROBLEMS)
async def newest_manifest(request: Request, model: NamePath) -> dict[str, Any]:
    """Return the manifest of a model's newest version."""
    return (await get_registry(request).get_manifest(model)).model_dump(mode="json")


@router.get("/v1/models/{model}/{version}", responses=MANIFEST_PROBLEMS)
async def version_manifest(request: Request, model: NamePath, version: VersionPath) -> dict[str, Any]:
    """Return the manifest of one version."""
    return (await get_registry(request).get_manifest(model, version)).model_dump(mode="json")


@router.get("/livez", responses={503: PROBLEMS[503]})
async def livez(request: Request) -> Any:
    """Return 200 while the event loop runs, and 503 when only a new process can serve: the GPU refuses all work."""
    if get_registry(request).device_probe.needs_restart:
        return errors.problem_response(503, "Not live", "the GPU refuses all work; restart the service")
    return {"status": "live"}


@router.get("/readyz", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> Any:
    """Return 200 once the models are loaded and checked, and 503 before that and while draining."""
    registry = get_registry(request)
    if reason := find_unready_reason(registry):
        return _respond_not_ready(reason)
    return {
        "status": "ready",
        "models": [f"{model.manifest.name}/{model.manifest.version}" for model in registry.list_newest()],
        "broken": [f"{name}/{version}" for name, version in registry.list_load_errors()],
    }


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics in Prometheus' text format."""
    service_metrics: Metrics = request.app.state.metrics
    record_readiness(get_registry(request), service_metrics)
    return Response(service_metrics.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Return the page for browsers."""
    text = resources.files("service").joinpath("static").joinpath("index.html").read_text(encoding="utf-8")
    return HTMLResponse(text, headers={"Content-Security-Policy": PAGE_POLICY})


def record_readiness(registry: Registry, service_metrics: Metrics) -> None:
    """Set the gauges that say whether this worker is ready, and whether it drains."""
    service_metrics.ready.set(find_unready_reason(registry) is None)
    service_metrics.draining.set(registry.is_draining)


def find_unready_reason(registry: Registry) -> str | None:
    """Return why the service is not ready; None where it is."""
    if registry.is_draining:
        return "the service is shutting down"
    if registry.device_probe.is_lost:
        return "the GPU refuses work"
    if not registry.is_ready:
        load_errors = _describe_load_errors(registry)
        reasons = [f"{error['model']}/{error['version']}: {error['reason']}" for error in load_errors]
        return "; ".join(["no model is loaded and checked yet", *reasons])
    return None


def make_image_url(request: Request, address: str, extension: str) -> str:
    """Return an image's permanent URL, without scheme and host."""
    path, _, query = address.partition("?")
    return f"{request.scope.get('root_path', '')}/v1/images/{path}.{extension}" + (f"?{query}" if query else "")


def find_route(name: str) -> APIRoute:
    """Return the route of an endpoint in this module."""
    return next(route for route in router.routes if isinstance(route, APIRoute) and route.name == name)


async def _make_addresses(model: LoadedModel, params: GenerateRequest) -> list[Address]:
    if params.latents is None:
        seed = secrets.randbelow(MAX_INTEGER + 1) if params.seed is None else params.seed
        make = partial(model.manifest.addresses, seed, params.index, params.n, params.labels, params.psi)
    else:
        make = partial(model.manifest.latent_addresses, params.latents, params.labels, params.psi)
    return make() if params.num_images <= MAX_INLINE_ADDRESSES else await asyncio.to_thread(make)


def _make_etag(model: LoadedModel, address: Address, media_type: MediaType) -> str:
    """Hash all that the file's bytes depend on."""
    identity = f"{address}|{media_type}|{model.digest}|{model.fingerprint}"
    return f'"{hashlib.sha256(identity.encode()).hexdigest()[:32]}"'


def _respond_with_image(request: Request, image: CachedImage, extension: str) -> Response:
    """Respond with a permanent image, or say that the client has it.

    Without RateLimit: a cache would hand one caller's to the next. Content-Location has the canonical URL, so that
    caches and callers that asked in another way can tell that it is the same image.
    """
    if tracing := request.app.state.tracing:
        tracing.describe_image(image.address)
    authenticator: Authenticator = request.app.state.authenticator
    sharing = "public" if authenticator.is_open or get_settings(request).public_images else "private"
    headers = {
        "ETag": image.etag,
        "Cache-Control": f"{sharing}, {IMMUTABLE}",
        "Ganmint-Address": image.address,
        "Content-Location": make_image_url(request, image.address, extension),
    }
    if etag_matches(request.headers.get("if-none-match"), image.etag):
        return Response(status_code=304, headers=headers)
    return Response(image.file, media_type=EXTENSIONS[extension], headers=headers)


async def _render_picture(
    request: Request, model: LoadedModel, addresses: list[Address], media_type: MediaType, deadline: Deadline
) -> bytes:
    """Mint the image itself, or a grid of several."""
    if len(addresses) == 1:
        with model.batcher.submit(addresses, media_type, deadline) as pending:
            return (await wait_while_connected(request, pending, pending.wait_for_files))[0]
    with model.batcher.submit(addresses, None, deadline) as pending:
        pixels = await wait_while_connected(request, pending, pending.wait_for_pixels)
    texts = [str(address) for address in addresses]
    started_at = time.perf_counter()
    picture = await asyncio.to_thread(deadline.call, images.encode_one_or_grid, pixels, media_type, texts)
    pending.add_span("encode", started_at)
    return picture


async def _stream_archive(
    model: LoadedModel, addresses: list[Address], media_type: str, deadline: Deadline, headers: dict[str, str]
) -> Response:
    """Respond with an archive that is written while its images are minted."""
    stream_format = responses.stream_zip if media_type == ZIP else responses.stream_npz

    async def stream_chunks() -> AsyncIterator[bytes]:
        # Submitted inside the generator, so that the request is dropped whenever the stream ends.
        with model.batcher.submit(addresses, "image/png" if media_type == ZIP else None, deadline) as pending:
            yield b""
            async for chunk in stream_format(model.manifest, pending):
                yield chunk

    chunks = stream_chunks()
    # Queue the request before the status is sent: a full queue must give a 429.
    await anext(chunks)
    return ArchiveResponse(chunks, deadline.timeout_s, media_type=media_type, headers=headers)


def _describe_load_errors(registry: Registry) -> list[dict[str, str]]:
    load_errors = sorted(registry.list_load_errors().items())
    return [
        {"model": name, "version": version, "reason": errors.describe_load_error(error)}
        for (name, version), error in load_errors
    ]


def _describe_runtime(model: LoadedModel) -> dict[str, Any]:
    return {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "runtime": model.runtime,
        "batch_size": model.batch_size,
        "padded": model.is_padded,
        "fingerprint": model.fingerprint,
    }


def _respond_not_ready(reason: str) -> Response:
    return errors.problem_response(503, "Not ready", reason, headers={"Retry-After": "5"})
