"""The pages that run in the browser, and the files of a model that one of them mints and plays with.

Not here: what their files do (static/play), which versions are good (service.registry).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from models import store
from models.artifact_files import DIRECTIONS, UNITS, WEIGHTS
from models.directions import Directions
from models.manifest import Manifest
from models.units import Units
from service.api_description import MANIFEST_PROBLEMS, PROBLEMS, NamePath, VersionPath
from service.auth import ApiKey, Authenticator
from service.errors import NotReadyError
from service.negotiation import etag_matches
from service.page_files import respond_with_file
from service.permanent_images import IMMUTABLE
from service.request_state import charge, check_key, get_registry, get_settings
from service.schemas import Problem

_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    304: {"description": "Not modified"},
    **MANIFEST_PROBLEMS,
    **{status: PROBLEMS[status] for status in (401, 429)},
}
router = APIRouter()


@router.get("/", include_in_schema=False)
async def mint(request: Request) -> Response:
    """Return the page that mints many images."""
    return respond_with_file(request, "mint", "mint.html")


@router.get("/play", include_in_schema=False)
async def play(request: Request) -> Response:
    """Return the page that plays with one image."""
    return respond_with_file(request, "play", "play.html")


@router.get("/play/lab", include_in_schema=False)
async def lab(request: Request) -> Response:
    """Return the page that plays how toy GANs learned, and trains one."""
    return respond_with_file(request, "play/lab", "lab.html")


@router.get("/mint/{file}", include_in_schema=False)
async def mint_file(request: Request, file: str) -> Response:
    """Return one of the first page's own files."""
    return respond_with_file(request, "mint", file)


@router.get("/play/{file}", include_in_schema=False)
async def play_file(request: Request, file: str) -> Response:
    """Return one of the files of the page, or of those that all pages share."""
    return respond_with_file(request, "play", file)


@router.get("/play/lab/{file}", include_in_schema=False)
async def lab_file(request: Request, file: str) -> Response:
    """Return one of the lab's own files."""
    return respond_with_file(request, "play/lab", file)


@router.get(
    f"/v1/models/{{model}}/{{version}}/{WEIGHTS}",
    response_class=Response,
    responses={
        200: {"content": _BINARY},
        403: {
            "model": Problem,
            "description": "The service does not share weights",
            "content": PROBLEMS[404]["content"],
        },
        **_FILE_RESPONSES,
    },
)
async def weights(request: Request, model: NamePath, version: VersionPath) -> Response:
    """Return the weights of one version; the `network` of its manifest says what they are weights of.

    403 where the operator does not share them.
    """
    key = check_key(request)
    if not get_settings(request).share_weights:
        raise HTTPException(403, "this service does not share the weights of its models (GANMINT_SHARE_WEIGHTS=0)")
    return await _respond_with_artifact_file(request, key, model, version, WEIGHTS)


@router.get(f"/v1/models/{{model}}/{{version}}/{DIRECTIONS}", response_model=Directions, responses=_FILE_RESPONSES)
async def directions(request: Request, model: NamePath, version: VersionPath) -> Response:
    """Return the directions along which an address moves its latent (`dir.NAME`), with what was measured of them.

    404 where the manifest names no such file.
    """
    return await _respond_with_artifact_file(request, check_key(request), model, version, DIRECTIONS)


@router.get(f"/v1/models/{{model}}/{{version}}/{UNITS}", response_model=Units, responses=_FILE_RESPONSES)
async def units(request: Request, model: NamePath, version: VersionPath) -> Response:
    """Return what was measured of the feature maps that an address sets (`uL.U`).

    404 where the manifest names no such file.
    """
    return await _respond_with_artifact_file(request, check_key(request), model, version, UNITS)


async def _respond_with_artifact_file(
    request: Request, key: ApiKey | None, model: str, version: str, name: str
) -> Response:
    manifest = await get_registry(request).get_manifest(model, version)
    if name not in manifest.files:
        raise HTTPException(404, f"{model} {version} has no {name}")
    authenticator: Authenticator = request.app.state.authenticator
    sharing = "public" if authenticator.is_open else "private"
    etag = f'"{manifest.files[name]}"'
    headers = {"ETag": etag, "Cache-Control": f"{sharing}, {IMMUTABLE}"}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    await charge(request, key, 0)
    content = await asyncio.to_thread(_read_file, manifest, name)
    media_type = "application/json" if name.endswith(".json") else "application/octet-stream"
    return Response(content, media_type=media_type, headers=headers)


def _read_file(manifest: Manifest, name: str) -> bytes:
    """Read a file and check its hash again, because it may have changed since it was checked."""
    try:
        content = (store.find_version(manifest.name, manifest.version).path / name).read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != manifest.files[name]:
        raise NotReadyError(f"{name} of {manifest.name} {manifest.version} cannot be read just now")
    return content
