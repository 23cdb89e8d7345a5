"""The files of the pages that run in the browser: each page has a folder; that of play has what all share."""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from importlib import resources
from pathlib import PurePath

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from service.negotiation import accepts_gzip, etag_matches

# Scripts, styles and the kernel are files of their own; nothing else may run or load.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# What is served, by suffix; sources of the kernel are not.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
# What is compressed here, once for all requests. JSON is what service.compression does.
COMPRESSED = (".html", ".css", ".mjs", ".svg", ".wasm")
# Comments and indentation are for who reads the sources. All lines stay, so that errors in a browser name the same.
# At the end of a line, what has a quote after it may be a string.
_FOR_READERS = re.compile(rb"^ *//.*|^ +| +// [^'\"`\n]*$", re.MULTILINE)


@cache
def list_files(page: str) -> frozenset[str]:
    """Return the names of a page's files that are served."""
    names = (file.name for file in (resources.files("service") / "static" / page).iterdir())
    return frozenset(name for name in names if PurePath(name).suffix in MEDIA_TYPES)


def respond_with_file(request: Request, page: str, name: str) -> Response:
    """Respond with a file of a page, or 304 where the caller has it.

    Raises: HTTPException: 404, the page has no such file.
    """
    if name not in list_files(page):
        raise HTTPException(404, f"the page has no file {name!r}")
    is_compressible = PurePath(name).suffix in COMPRESSED
    is_compressed = is_compressible and accepts_gzip(request.headers.get("accept-encoding"))
    content, etag = _read_file(page, name, is_compressed)
    # A new version of Ganmint has other files at the same URLs.
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if is_compressible:
        headers["Vary"] = "Accept-Encoding"
    if is_compressed:
        headers["Content-Encoding"] = "gzip"
    if etag_matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=MEDIA_TYPES[PurePath(name).suffix], headers=headers)


@cache
def _read_file(page: str, name: str, is_compressed: bool) -> tuple[bytes, str]:
    """Return a file of the package, as it is sent, and the ETag of that."""
    content = (resources.files("service") / "static" / page / name).read_bytes()
    if name.endswith((".mjs", ".html")):
        content = _FOR_READERS.sub(b"", content)
    if is_compressed:
        content = gzip.compress(content, mtime=0)
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
