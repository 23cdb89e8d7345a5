"""The route of an image at its permanent address, which any HTTP cache may keep for ever."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from models.address import LABEL_FIELDS, Address
from models.errors import InputError
from models.images import EXTENSIONS, MEDIA_TYPES, MediaType
from service.api_description import EDITS, PROBLEMS, IndexPath, NamePath, SeedPath, VersionPath
from service.auth import Authenticator
from service.deadline import Deadline
from service.image_cache import CachedImage, ImageCache, ImageKey
from service.loaded_model import LoadedModel
from service.negotiation import TIMEOUT_HEADER, etag_matches, parse_timeout_s
from service.registry import Registry
from service.request_state import add_to_log, charge, check_key, get_registry, get_settings, wait_while_connected

IMAGE_ROUTE = "/v1/images/{model}/{version}/{seed}/{index}.{extension}"
# The rest of Cache-Control, behind who may keep an image.
IMMUTABLE = "max-age=31536000, immutable"
router = APIRouter()


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
    `to`, `tolabel` and `at` mix the latent and the class with a second one, `zK=V` sets dimension K of the latent to V,
    `dir.NAME=V` moves it along a direction of the model's.
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
    with deadline:
        parsed_address = await _parse(text, registry, model, version)
        loaded_model = await registry.get(model, version)
        address = loaded_model.manifest.check(parsed_address)
        image = CachedImage(str(address), _make_etag(loaded_model, address, media_type), b"")
        if not etag_matches(known_etag, image.etag):
            await charge(request, api_key, 1, loaded_model, deadline)
            with loaded_model.batcher.submit([address], media_type, deadline) as pending:
                (file,) = await wait_while_connected(request, pending, pending.wait_for_files)
            image = image._replace(file=file)
            cache.add(ImageKey(text, media_type, loaded_model.digest), image)
        return _respond_with_image(request, image, extension)


async def _parse(text: str, registry: Registry, model: str, version: str) -> Address:
    """Parse an address.

    Raises: InputError; ModelNotFoundError where only the model knows what is wrong.
    """
    try:
        return Address.parse(text)
    except InputError as error:
        if error.field not in LABEL_FIELDS:
            raise
        raise (await registry.get_manifest(model, version)).explain(error, text) from None


def make_image_url(request: Request, address: str, extension: str) -> str:
    """Return an image's permanent URL, without scheme and host."""
    path, _, query = address.partition("?")
    return f"{request.scope.get('root_path', '')}/v1/images/{path}.{extension}" + (f"?{query}" if query else "")


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
