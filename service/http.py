"""The HTTP interface: admit, parse, resolve addresses, answer.

Knows: the routes and what each answers. Does not know: how images are minted or batched
(service.batcher), which file makes them (service.registry), how an answer is written
(service.responses), how errors look (service.errors).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import metadata, resources
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Path, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from models import images
from models.address import NAME, VERSION, Address
from models.errors import InputError
from models.images import EXTENSIONS, MEDIA_TYPES, MediaType
from models.latents import MAX_INTEGER
from service import errors, request_body, responses, tracing
from service.auth import Authenticator
from service.batcher import PendingRequest
from service.errors import ClientGoneError, InvalidRequestError, MalformedBodyError
from service.metrics import Metrics
from service.middleware import CloseWhileDraining, FastRouteMiddleware, HeadAsGet, RequestMetrics
from service.negotiation import JSON, check_json, choose, matches
from service.registry import LoadedModel, Registry
from service.responses import NPZ, ZIP, TimeoutStreamingResponse
from service.schemas import GenerateRequest, GenerateResponse, Problem
from service.settings import Settings

OFFERS = (JSON, *MEDIA_TYPES, ZIP, NPZ)
IMAGE_ROUTE = "/v1/images/{model}/{version}/{seed}/{index}.{extension}"
IMMUTABLE = "public, max-age=31536000, immutable"
TIMEOUT_HEADER = "Ganmint-Timeout-S"
# Above this many images, resolving labels would hold up the event loop.
RESOLVE_INLINE = 64
# Most answers are there before it is worth looking whether the caller still is.
WATCH_AFTER_S = 0.25
# The page's script and style are inline; nothing else may run or load.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": title, "content": {errors.MEDIA_TYPE: {}}}
    for status, title in {
        400: "The body is not JSON",
        401: "An API key is needed",
        404: "No such model or version",
        406: "Not acceptable",
        408: "The body did not arrive within the request's time",
        413: "The body is too large",
        415: "The body is not sent as JSON",
        422: "A field is wrong; `errors` names it",
        429: "Too many images are waiting, or the key's limit is reached",
        503: "Not ready",
        504: "Not ready within the request's time",
    }.items()
}
T = TypeVar("T")
# For the API description only: what is wrong is said by models.address, in its own words.
NamePath = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"}, examples=["digits"])]
VersionPath = Annotated[str, Path(json_schema_extra={"pattern": f"^{VERSION.pattern}$"}, examples=["1.0.0"])]
IntegerPath = Annotated[str, Path(json_schema_extra={"pattern": "^(0|[1-9][0-9]{0,14})$"}, examples=["7"])]
router = APIRouter()


def create_app(settings: Settings, loaded: Callable[[], None] = lambda: None) -> FastAPI:
    """The application; its lifespan loads the models in the background and stops with it.

    Args: loaded, called once when the models have been loaded.
    Raises: FileError when the key file cannot be used.
    """
    metrics, access = Metrics(), Authenticator(settings.api_keys_file, settings.api_keys)
    registry = Registry(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # In the background: /livez answers while models load, /readyz when they are proved.
        tasks = [asyncio.create_task(_load(registry, settings, loaded))]
        tasks.append(asyncio.create_task(_watch_keys(access, settings)))
        yield
        for task in tasks:
            task.cancel()
        await registry.stop()
        if settings.tracing:
            await asyncio.to_thread(send_traces)

    app = FastAPI(
        title="Ganmint",
        version=metadata.version("ganmint"),
        description="Synthetic images from seeds. The same address gives the same bytes.",
        lifespan=lifespan,
        # Its own look at OpenTelemetry, on every request, is not needed: service.tracing does it.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings, app.state.registry, app.state.metrics, app.state.access = settings, registry, metrics, access
    app.include_router(router)
    errors.install(app)
    app.add_middleware(FastRouteMiddleware, route=_route("generate"), endpoint=generate)
    app.add_middleware(HeadAsGet)
    if settings.origins:
        exposed = [*responses.HEADERS, "ETag", "Retry-After", "RateLimit", "RateLimit-Policy"]
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_headers=["*"], allow_methods=["GET", "POST"],
            expose_headers=exposed,
        )  # fmt: skip
    app.add_middleware(CloseWhileDraining, draining=lambda: registry.draining)
    app.add_middleware(RequestMetrics, metrics=metrics, access_log=settings.access_log)
    if settings.tracing:
        send_traces = tracing.install(app)
    return app


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
    """Mint n images; `Accept` decides the form.

    `application/json` (default) lists the images as base64 PNG; `image/png`, `image/jpeg` and
    `image/webp` answer one picture: the image itself, or a grid where n is above 1;
    `application/zip` is PNG files with metadata.jsonl, `application/x-npz` NumPy arrays. The header
    `Ganmint-Timeout-S` shortens the time after which a 504 is the answer.
    """
    offer = choose(request.headers.get("accept"), OFFERS)
    timeout_s = _timeout_s(request)
    wanted = await _parse(request, timeout_s)
    allowance = _admit(request, wanted.n)
    served = await _registry(request).get(wanted.model, wanted.version)
    # Before the addresses are made: to refuse must cost little when there is much to refuse.
    served.batcher.check_room(wanted.n, timeout_s)
    addresses = await _addresses(served, wanted)
    headers = {**responses.address_headers(addresses), **allowance}
    if offer in (ZIP, NPZ):
        return await _streamed(served, addresses, offer, timeout_s, headers)
    if offer == JSON:
        with served.batcher.job(addresses, "image/png", timeout_s) as job:
            files = await _wanted(request, job, job.files)
        return Response(responses.json_body(served.manifest, addresses, files), media_type=JSON, headers=allowance)
    picture: MediaType = next(media for media in MEDIA_TYPES if media == offer)
    body = await _picture(request, served, addresses, picture, timeout_s)
    return Response(body, media_type=picture, headers=headers)


@router.get(
    IMAGE_ROUTE,
    response_class=Response,
    responses={
        200: {"content": {media: {} for media in MEDIA_TYPES}},
        304: {"description": "Not modified"},
        **{k: v for k, v in PROBLEMS.items() if k not in (400, 406, 408, 413, 415)},
    },
    openapi_extra={
        "parameters": [
            {"name": "label", "in": "query", "schema": {"type": "integer", "minimum": 0}},
            {"name": "psi", "in": "query", "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}},
        ]
    },
)
async def permanent_image(
    request: Request, model: NamePath, version: VersionPath, seed: IntegerPath, index: IntegerPath, extension: str
) -> Response:
    """One image at its permanent address; any HTTP cache may keep it for good."""
    if extension not in EXTENSIONS:
        raise HTTPException(404, f"no such format {extension!r}; there are: {', '.join(EXTENSIONS)}")
    timeout_s = _timeout_s(request)
    # The query as it stands: an address has no escapes, no unknown parts, nothing twice.
    query = request.url.query
    asked = Address.parse(f"{model}/{version}/{seed}/{index}" + (f"?{query}" if query else ""))
    allowance = _admit(request, 1)
    served = await _registry(request).get(model, version)
    address = served.manifest.check(asked)
    media_type = EXTENSIONS[extension]
    identity = f"{address}|{media_type}|{served.digest}|{served.fingerprint}"
    etag = f'"{hashlib.sha256(identity.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE, "Ganmint-Address": str(address), **allowance}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    body = await _picture(request, served, [address], media_type, timeout_s)
    return Response(body, media_type=media_type, headers=headers)


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The newest version of every model, with its card; and the versions that are refused, with the reason."""
    registry = _registry(request)
    return {
        "models": [served.manifest.model_dump(mode="json") for served in registry.newest()],
        "broken": _broken(registry),
    }


@router.get("/v1/models/{model}", responses={k: PROBLEMS[k] for k in (404, 422, 503)})
async def newest_card(request: Request, model: NamePath) -> dict[str, Any]:
    """The card of a model's newest version."""
    return (await _registry(request).get(model)).manifest.model_dump(mode="json")


@router.get("/v1/models/{model}/{version}", responses={k: PROBLEMS[k] for k in (404, 422, 503)})
async def card(request: Request, model: NamePath, version: VersionPath) -> dict[str, Any]:
    """The card of one version."""
    return (await _registry(request).get(model, version)).manifest.model_dump(mode="json")


@router.get("/livez")
async def livez() -> dict[str, str]:
    """200 while the event loop turns."""
    return {"status": "live"}


@router.get("/readyz", responses={503: PROBLEMS[503]})
async def readyz(request: Request) -> Any:
    """200 once the models are loaded and their hashes and goldens passed; 503 again while draining."""
    registry = _registry(request)
    if not registry.ready or registry.draining:
        reason = "the service is shutting down" if registry.draining else "no model is loaded and checked yet"
        if not registry.draining and (broken := _broken(registry)):
            reason += "".join(f"; {one['model']}/{one['version']}: {one['reason']}" for one in broken)
        return errors.problem(503, "Not ready", reason, headers={"Retry-After": "5"})
    return {
        "status": "ready",
        "models": [f"{s.manifest.name}/{s.manifest.version}" for s in registry.newest()],
        "broken": [f"{name}/{version}" for name, version in registry.broken()],
    }


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """One small page for people."""
    text = resources.files("service").joinpath("static").joinpath("index.html").read_text(encoding="utf-8")
    return HTMLResponse(text, headers={"Content-Security-Policy": PAGE_POLICY})


def _route(name: str) -> APIRoute:
    return next(route for route in router.routes if isinstance(route, APIRoute) and route.name == name)


def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


def _broken(registry: Registry) -> list[dict[str, str]]:
    broken = sorted(registry.broken().items())
    return [{"model": name, "version": version, "reason": errors.refusal(error)} for (name, version), error in broken]


async def _load(registry: Registry, settings: Settings, loaded: Callable[[], None]) -> None:
    await registry.start()
    loaded()
    if settings.announce_url and registry.ready:
        url, name = settings.announce_url, registry.newest()[0].manifest.name
        body = json.dumps({"model": name, "seed": 7, "n": 64})
        print(f"Ready on {url}\n  curl -fsS {url}/generate -H 'Accept: image/png' -d '{body}' -o grid.png", flush=True)


async def _watch_keys(access: Authenticator, settings: Settings) -> None:
    while True:
        await asyncio.sleep(settings.poll_s)
        access.refresh()


def _admit(request: Request, count: int) -> dict[str, str]:
    access: Authenticator = request.app.state.access
    return access.admit(request.headers.get("authorization"), count)


def _timeout_s(request: Request) -> float:
    settings: Settings = request.app.state.settings
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return settings.timeout_s
    try:
        asked = float(text)
    except ValueError:
        asked = float("nan")
    if not 0 < asked < float("inf"):
        raise InputError(f"must be a number of seconds above 0, got {text!r}", TIMEOUT_HEADER)
    return min(asked, settings.timeout_s)


async def _parse(request: Request, timeout_s: float) -> GenerateRequest:
    check_json(request.headers.get("content-type"))
    settings: Settings = request.app.state.settings
    body = await request_body.read(request, settings.max_body_bytes, timeout_s)
    if not body:
        raise MalformedBodyError('the body is empty; send JSON such as {"model": "digits", "n": 4}')
    try:
        wanted = GenerateRequest.model_validate_json(body)
    except ValidationError as error:
        raise errors.invalid_request(error) from None
    if wanted.n > settings.max_n:
        raise InvalidRequestError(
            [("n", f"must be at most {settings.max_n}, got {wanted.n}; ask again with a higher index for more")]
        )
    return wanted


async def _addresses(served: LoadedModel, wanted: GenerateRequest) -> list[Address]:
    seed = secrets.randbelow(MAX_INTEGER + 1) if wanted.seed is None else wanted.seed
    arguments = (seed, wanted.index, wanted.n, wanted.labels, wanted.psi)
    if wanted.n <= RESOLVE_INLINE:
        return served.manifest.addresses(*arguments)
    return await asyncio.to_thread(served.manifest.addresses, *arguments)


async def _picture(
    request: Request, served: LoadedModel, addresses: list[Address], media_type: MediaType, timeout_s: float
) -> bytes:
    """The image itself, or a grid of several."""
    if len(addresses) == 1:
        with served.batcher.job(addresses, media_type, timeout_s) as job:
            return (await _wanted(request, job, job.files))[0]
    with served.batcher.job(addresses, None, timeout_s) as job:
        pixels = await _wanted(request, job, job.pixels)
    texts = [str(address) for address in addresses]
    return await asyncio.to_thread(images.encode_one_or_grid, pixels, media_type, texts)


async def _streamed(
    served: LoadedModel, addresses: list[Address], offer: str, timeout_s: float, headers: dict[str, str]
) -> Response:
    """An archive that is written while its images are minted."""
    write = responses.zip_stream if offer == ZIP else responses.npz_stream

    async def chunks() -> AsyncIterator[bytes]:
        # Opened here, so that it ends with the stream, whoever ends that.
        with served.batcher.job(addresses, "image/png" if offer == ZIP else None, timeout_s) as job:
            yield b""
            async for chunk in write(served.manifest, job):
                yield chunk

    stream = chunks()
    # A full queue must be a 429, so the job is queued before the status is sent.
    await anext(stream)
    return TimeoutStreamingResponse(stream, timeout_s, media_type=offer, headers=headers)


async def _wanted(request: Request, job: PendingRequest, result: Callable[[], Awaitable[T]]) -> T:
    """The job's result, unless the caller hangs up first: then the job ends with ClientGoneError."""
    watch: asyncio.Task[None] | None = None

    def start() -> None:
        nonlocal watch
        watch = asyncio.create_task(_end_when_gone(request, job))

    timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, start)
    try:
        return await result()
    finally:
        timer.cancel()
        if watch:
            watch.cancel()


async def _end_when_gone(request: Request, job: PendingRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.fail(ClientGoneError("the caller hung up"))
