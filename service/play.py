"""The pages that run in the browser, and the weights that one of them mints with.

Not here: what their files do (static/play), which versions are good (service.registry).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from models import store
from models.artifact_files import WEIGHTS
from models.manifest import Manifest
from service.api_description import MANIFEST_PROBLEMS, PROBLEMS, NamePath, VersionPath
from service.auth import Authenticator
from service.errors import NotReadyError
from service.negotiation import etag_matches
from service.page_files import respond_with_file
from service.permanent_images import IMMUTABLE
from service.request_state import charge, check_key, get_registry, get_settings
from service.schemas import Problem

_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
router = APIRouter()


@router.get("/play", include_in_schema=False)
async def play(request: Request) -> Response:
    """Return the page."""
    return respond_with_file(request, "play", "play.html")


@router.get("/play/lab", include_in_schema=False)
async def lab(request: Request) -> Response:
    """Return the page that plays how toy GANs learned, and trains one."""
    return respond_with_file(request, "play/lab", "lab.html")


@router.get("/play/{file}", include_in_schema=False)
async def play_file(request: Request, file: str) -> Response:
    """Return one of the page's files."""
    return respond_with_file(request, "play", file)


@router.get("/play/lab/{file}", include_in_schema=False)
async def lab_file(request: Request, file: str) -> Response:
    """Return one of that page's files."""
    return respond_with_file(request, "play/lab", file)


@router.get(
    f"/v1/models/{{model}}/{{version}}/{WEIGHTS}",
    response_class=Response,
    responses={
        200: {"content": _BINARY},
        304: {"description": "Not modified"},
        403: {
            "model": Problem,
            "description": "The service does not share weights",
            "content": PROBLEMS[404]["content"],
        },
        **MANIFEST_PROBLEMS,
        **{status: PROBLEMS[status] for status in (401, 429)},
    },
)
async def weights(request: Request, model: NamePath, version: VersionPath) -> Response:
    """Return the weights of one version; the `network` of its manifest says what they are weights of.

    403 where the operator does not share them.
    """
    key = check_key(request)
    if not get_settings(request).share_weights:
        raise HTTPException(403, "this service does not share the weights of its models (GANMINT_SHARE_WEIGHTS=0)")
    manifest = await get_registry(request).get_manifest(model, version)
    authenticator: Authenticator = request.app.state.authenticator
    sharing = "public" if authenticator.is_open else "private"
    etag = f'"{manifest.files[WEIGHTS]}"'
    headers = {"ETag": etag, "Cache-Control": f"{sharing}, {IMMUTABLE}"}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    await charge(request, key, 0)
    content = await asyncio.to_thread(_read_weights, manifest)
    return Response(content, media_type="application/octet-stream", headers=headers)


def _read_weights(manifest: Manifest) -> bytes:
    """Read the weights and check their hash again, because the file may have changed since it was checked."""
    try:
        content = (store.find_version(manifest.name, manifest.version).path / WEIGHTS).read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != manifest.files[WEIGHTS]:
        raise NotReadyError(f"the weights of {manifest.name} {manifest.version} cannot be read just now")
    return content
