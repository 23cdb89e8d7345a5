"""The route that verifies a picture: read it within bounds, mint its addresses again, compare.

Not here: what is compared, and how (models.verification).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from fastapi import APIRouter, Request, Response

from models import verification
from models.errors import FileError, ModelNotFoundError
from models.images import MEDIA_TYPES
from models.picture_difference import encode_difference
from models.verification import Claim, Comparison
from service.api_description import PROBLEMS
from service.auth import ApiKey
from service.compression import decode_body
from service.deadline import Deadline
from service.errors import STATUSES, InvalidRequestError, MalformedGzipError, QueueFullError
from service.negotiation import BINARY, JSON, TIMEOUT_HEADER, check_picture_content_type, parse_timeout_s
from service.rate_limits import check_cost
from service.request_body import read_body
from service.request_state import add_to_log, charge, check_key, get_registry, get_settings, wait_while_connected
from service.schemas import VerifyResponse
from service.settings import Settings

# A large file takes up to some hundred megabytes while it is verified. Large ones beyond these are refused.
MAX_LARGE_FILES = 2
# A file of more images is large, also where it has few bytes.
MAX_SMALL_IMAGES = 64
_BINARY_SCHEMA = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"required": True, "content": dict.fromkeys((*MEDIA_TYPES, BINARY), _BINARY_SCHEMA)}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **{status: PROBLEMS[status] for status in (401, 408, 413, 415, 422, 429, 503, 504)},
    400: {**PROBLEMS[400], "description": STATUSES[MalformedGzipError][1]},
}
T = TypeVar("T")
P = ParamSpec("P")
router = APIRouter()


class LargeFiles:
    """Counts the large files that are being verified. Used on one event loop."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count one for as long as the block runs.

        Raises:
            QueueFullError: there are as many as there may be.
        """
        if self._count >= MAX_LARGE_FILES:
            raise QueueFullError(1)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class _ThreadWork:
    """Reads and compares one file in threads, beside the event loop.

    Nothing ends a thread from outside: at the deadline the caller gets its answer, and the thread ends after the step
    that it is at. Until then the file is in memory, and stays admitted.

    Args:
        deadline: of the request.
        admission: closed when the request, and the thread that it left behind, have ended.
    """

    def __init__(self, deadline: Deadline, admission: ExitStack) -> None:
        self.deadline = deadline
        self._admission = admission

    async def run(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function in a thread.

        Raises:
            InvalidRequestError: the file is bad.
        """
        call = partial(self.deadline.call, function, *arguments, **options)
        future = asyncio.get_running_loop().run_in_executor(None, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            admission = self._admission.pop_all()

            def release(ended: asyncio.Future[T]) -> None:
                admission.close()
                # Nobody waits for it; asyncio would log an error that nobody fetches.
                _ = ended.cancelled() or ended.exception()

            future.add_done_callback(release)
            raise
        except FileError as error:
            raise InvalidRequestError([("body", error.reason)]) from None


@router.post("/v1/verify", response_model=VerifyResponse, responses=_PROBLEMS, openapi_extra={"requestBody": _BODY})
async def verify_picture(request: Request) -> Response:
    """Tell whether a picture is still what the addresses in it mint.

    The body is the file itself: PNG, JPEG or WebP, one image or a grid. `result` is one of

    - `identical`, `same_pixels`, `close`: it is what its addresses mint,
    - `altered`, `another_image`: it is not; `detail` says in words what differs, and `difference` shows it,
    - `no_marks`, `unknown_model`: it cannot be compared.

    A request counts as many images as the file has addresses.
    """
    settings = get_settings(request)
    api_key = check_key(request)
    deadline = Deadline(parse_timeout_s(request.headers.get(TIMEOUT_HEADER), settings.timeout_s))
    check_picture_content_type(request.headers.get("content-type"), MEDIA_TYPES)
    large_files: LargeFiles = request.app.state.large_files
    with ExitStack() as admission, deadline:
        is_large = _may_be_large(request, settings)
        if is_large:
            admission.enter_context(large_files.admit())
        work = _ThreadWork(deadline, admission)
        data = await read_body(request, settings.max_file_bytes, deadline)
        coding = request.headers.get("content-encoding")
        data = await work.run(decode_body, data, coding, settings.max_file_bytes)
        claim = await work.run(verification.read_claim, data, settings.max_n)
        check_cost(api_key, len(claim.addresses), "body")
        if not is_large and len(claim.addresses) > MAX_SMALL_IMAGES:
            admission.enter_context(large_files.admit())
        comparison, rate_limit_headers = await _verify(request, claim, api_key, work)
        body = await work.run(_encode_response, comparison)
    return Response(body, media_type=JSON, headers=rate_limit_headers)


def _may_be_large(request: Request, settings: Settings) -> bool:
    """Whether the body may be larger than that of any other route: without Content-Length or with a coding, it may."""
    length = request.headers.get("content-length", "")
    is_coded = "content-encoding" in request.headers
    return is_coded or not length.isdecimal() or int(length) > settings.max_body_bytes


async def _verify(
    request: Request, claim: Claim, api_key: ApiKey | None, work: _ThreadWork
) -> tuple[Comparison, dict[str, str]]:
    """Mint the claim's addresses and compare; returns the RateLimit headers, too."""
    if not claim.addresses:
        return verification.judge_without_marks(claim), await charge(request, api_key, 0)
    first = claim.addresses[0]
    try:
        model = await get_registry(request).get(first.model, first.version)
    except ModelNotFoundError as error:
        return verification.judge_unknown_model(claim, error), await charge(request, api_key, 0)
    addresses = await work.run(verification.resolve, claim.addresses, model.manifest)
    add_to_log(request, model=model.manifest.name, n=len(addresses))
    rate_limit_headers = await charge(request, api_key, len(addresses), model, work.deadline)
    with model.batcher.submit(addresses, None, work.deadline) as pending:
        pixels = await wait_while_connected(request, pending, pending.wait_for_pixels)
    comparison = await work.run(verification.compare, claim, pixels, check_time=work.deadline.check)
    return comparison, rate_limit_headers


def _encode_response(comparison: Comparison) -> bytes:
    picture = comparison.difference
    difference = None if picture is None else base64.b64encode(encode_difference(picture)).decode()
    fields = {**comparison.verification.model_dump(), "difference": difference}
    return VerifyResponse.model_validate(fields).model_dump_json().encode()
