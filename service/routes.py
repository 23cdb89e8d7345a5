"""The HTTP routes that mint on request and say which models there are: identify the caller, parse, charge, mint.

Not here: permanent images (service.permanent_images), health (service.health), batching (service.batcher), loading
models (service.registry), response bodies (service.responses), error statuses (service.errors).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from models import images
from models.address import Address
from models.images import MEDIA_TYPES, MediaType
from models.latents import MAX_INTEGER
from service import responses
from service.api_description import MANIFEST_PROBLEMS, PROBLEMS, NamePath, VersionPath
from service.deadline import Deadline
from service.health import describe_load_errors
from service.loaded_model import LoadedModel
from service.negotiation import JSON, TIMEOUT_HEADER, choose_media_type, parse_timeout_s
from service.rate_limits import check_cost
from service.request_body import read_generate_request
from service.request_state import add_to_log, charge, check_key, get_registry, get_settings, wait_while_connected
from service.responses import NPZ, ZIP, ArchiveResponse
from service.schemas import GenerateRequest, GenerateResponse

OFFERS = (JSON, *MEDIA_TYPES, ZIP, NPZ)
# Above this many images, making the addresses would block the event loop for too long.
MAX_INLINE_ADDRESSES = 64
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
        "broken": describe_load_errors(registry),
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


async def _make_addresses(model: LoadedModel, params: GenerateRequest) -> list[Address]:
    if params.latents is None:
        seed = secrets.randbelow(MAX_INTEGER + 1) if params.seed is None else params.seed
        make = partial(model.manifest.addresses, seed, params.index, params.n, params.labels, params.psi)
    else:
        make = partial(model.manifest.latent_addresses, params.latents, params.labels, params.psi)
    return make() if params.num_images <= MAX_INLINE_ADDRESSES else await asyncio.to_thread(make)


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

    async def stream_chunks() -> AsyncGenerator[bytes]:
        # Submitted inside the generator, so that the request is dropped whenever the stream ends.
        with model.batcher.submit(addresses, "image/png" if media_type == ZIP else None, deadline) as pending:
            yield b""
            async with contextlib.aclosing(stream_format(model.manifest, pending)) as stream:
                async for chunk in stream:
                    yield chunk

    chunks = stream_chunks()
    # Queue the request before the status is sent: a full queue must give a 429.
    await anext(chunks)
    return ArchiveResponse(chunks, deadline.timeout_s, media_type=media_type, headers=headers)


def _describe_runtime(model: LoadedModel) -> dict[str, Any]:
    return {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "runtime": model.runtime,
        "batch_size": model.batch_size,
        "padded": model.is_padded,
        "fingerprint": model.fingerprint,
    }
