"""The page that mints in the browser: its files, and the weights that it runs.

Not here: what the files do (static/play), which versions are good (service.registry).
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from models import store
from models.artifact_files import WEIGHTS
from models.manifest import Manifest
from service.auth import Authenticator
from service.errors import NotReadyError
from service.negotiation import etag_matches
from service.request_state import charge, check_key, get_registry, get_settings
from service.routes import IMMUTABLE, MANIFEST_PROBLEMS, PROBLEMS, NamePath, VersionPath
from service.schemas import Problem

# Scripts, styles and the kernel are files of their own; nothing else may run or load.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MEDIA_TYPES = {
    "play.html": "text/html; charset=utf-8",
    "play.css": "text/css; charset=utf-8",
    "theme.css": "text/css; charset=utf-8",
    "kernel.wasm": "application/wasm",
    **{
        f"{name}.mjs": "text/javascript; charset=utf-8"
        for name in (
            "address",
            "dimensions",
            "elements",
            "following",
            "generator",
            "inputs",
            "key",
            "latents",
            "minter",
            "page",
            "play",
            "safetensors",
            "seeds",
            "service",
            "thumbnails",
            "verify",
            "walk",
            "worker",
        )
    },
}
_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
router = APIRouter()


@router.get("/play", include_in_schema=False)
async def play(request: Request) -> Response:
    """Return the page."""
    return _respond_with_file(request, "play.html")


@router.get("/play/{file}", include_in_schema=False)
async def play_file(request: Request, file: str) -> Response:
    """Return one of the page's files."""
    if file not in MEDIA_TYPES:
        raise HTTPException(404, f"the page has no file {file!r}")
    return _respond_with_file(request, file)


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


def _respond_with_file(request: Request, name: str) -> Response:
    content, etag = _read_file(name)
    # A new version of Ganmint has other files at the same URLs.
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=MEDIA_TYPES[name], headers=headers)


@cache
def _read_file(name: str) -> tuple[bytes, str]:
    """Return a file of the package and its ETag."""
    content = resources.files("service").joinpath("static").joinpath("play").joinpath(name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
