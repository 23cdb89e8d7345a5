"""The route that turns any text into a seed and leads to its image."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from models.errors import InputError
from models.images import EXTENSIONS
from service.api_description import EDITS, PROBLEMS, NamePath
from service.deadline import Deadline
from service.negotiation import TIMEOUT_HEADER, parse_timeout_s
from service.permanent_images import make_image_url
from service.request_state import charge, check_key, get_registry, get_settings

MAX_TEXT_LENGTH = 256
_RESPONSES: dict[int | str, dict[str, Any]] = {
    307: {"description": "The image's permanent URL"},
    **{status: PROBLEMS[status] for status in (401, 404, 422, 429, 503, 504)},
}
router = APIRouter()


@router.get(
    "/v1/of/{model}/{text:path}.{extension}",
    status_code=307,
    response_class=RedirectResponse,
    responses=_RESPONSES,
    openapi_extra={"parameters": EDITS},
)
async def image_of_text(request: Request, model: NamePath, text: str, extension: str) -> RedirectResponse:
    """Lead to the image of a text, by the model's newest version.

    The seed is the first 53 bits of the SHA-256 of the text in NFC as UTF-8; the index is 0. A text has 1 to 256
    characters. The query may have what the image's own may have.
    """
    api_key = check_key(request)
    deadline = Deadline(parse_timeout_s(request.headers.get(TIMEOUT_HEADER), get_settings(request).timeout_s))
    if extension not in EXTENSIONS:
        raise HTTPException(404, f"no such format {extension!r}; the formats are: {', '.join(EXTENSIONS)}")
    seed = make_seed(text)
    with deadline:
        manifest = await get_registry(request).get_manifest(model)
    query = request.scope["query_string"].decode("latin-1")
    requested = f"{model}/{manifest.version}/{seed}/0" + (f"?{query}" if query else "")
    address = manifest.parse_address(requested)
    # The image itself is charged where it is asked for.
    headers = await charge(request, api_key, 0)
    return RedirectResponse(make_image_url(request, str(address), extension), headers=headers)


def make_seed(text: str) -> int:
    """Return the seed of a text: the first 53 bits of the SHA-256 of its NFC in UTF-8.

    Raises: InputError.
    """
    normal = unicodedata.normalize("NFC", text)
    if not 1 <= len(normal) <= MAX_TEXT_LENGTH:
        raise InputError(f"must have 1 to {MAX_TEXT_LENGTH} characters, got {len(normal)}", "text")
    # What stands in place of bytes that are not UTF-8: many URLs would be one text.
    if "\ufffd" in normal:
        raise InputError("must be UTF-8, percent-encoded", "text")
    return int.from_bytes(hashlib.sha256(normal.encode()).digest()[:7], "big") >> 3
