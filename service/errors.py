"""Maps the exception tree to HTTP statuses and problem+json bodies (RFC 9457); the only place that does.

The service's own exceptions are here, those that the packages share in models.errors.
"""

from __future__ import annotations

import difflib
import logging
import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from models.base import FieldProblem, list_problems
from models.errors import ArtifactError, GanmintError, InputError, ModelNotFoundError, SignatureError
from service import http_protocol
from service.schemas import GenerateRequest

MEDIA_TYPE = "application/problem+json"
_WITHOUT_EXTENSION = re.compile(r"/v1/images/(?:[^/]+/){3}[^/.]+|/v1/of/[^/]+/[^.]+")
EXTENSION_ADVICE = "the URL of an image ends in .png, .jpg or .webp; add one to it"
# In `state` of a request: the status that the metrics have in place of the one that was sent.
CUT_STATUS = "cut_status"
log = logging.getLogger("ganmint.service")


class MalformedBodyError(GanmintError):
    """The body is not JSON."""


class MalformedGzipError(GanmintError):
    """Content-Encoding says gzip, but the body is not one whole gzip stream."""


class BodyTooLargeError(GanmintError):
    """The body is larger than GANMINT_MAX_BODY_BYTES, or a file than GANMINT_MAX_FILE_BYTES."""


class BodyTimeoutError(GanmintError):
    """The body was not received within the request's time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"request body not received within {timeout_s:g} s")
        # The rest of the body may still come, so the connection cannot carry another request.
        self.headers = {"Connection": "close"}


class NotAcceptableError(GanmintError):
    """The Accept header allows none of the formats."""


class UnsupportedMediaTypeError(GanmintError):
    """The Content-Type is none that the route takes."""


class UnsupportedEncodingError(UnsupportedMediaTypeError):
    """The Content-Encoding is not gzip."""

    def __init__(self, coding: str) -> None:
        super().__init__(f"Content-Encoding: send the body as it is or with gzip, not {coding}")
        self.headers = {"Accept-Encoding": "gzip, identity"}


class InvalidRequestError(GanmintError):
    """Fields of the request are wrong.

    Attributes:
        errors: one (field, message) for each.
    """

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in errors))
        self.errors = errors


class QueueFullError(GanmintError):
    """The queue has no room for the request's images."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many images are waiting; try again in {retry_after_s} s")
        self.headers = {"Retry-After": str(retry_after_s)}


class NotReadyError(GanmintError):
    """The service cannot serve this model yet."""


class DeadlineError(GanmintError):
    """The images were not ready within the request's time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the images were not ready within {timeout_s:g} s; request fewer images or try again later")


class ClientGoneError(GanmintError):
    """The client disconnected; nobody receives the response."""


class SlowReaderError(GanmintError):
    """The client does not read its response; the stream was cut off."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the client read nothing for {timeout_s:g} s")


class UnauthorizedError(GanmintError):
    """The request has no API key, or an unknown one."""


class RateLimitedError(GanmintError):
    """The key has reached a limit of this minute."""

    def __init__(self, message: str, headers: dict[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


# Status and title of each exception.
STATUSES: dict[type[GanmintError], tuple[int, str]] = {
    MalformedBodyError: (400, "The body is not JSON"),
    MalformedGzipError: (400, "The body is not gzip"),
    UnauthorizedError: (401, "An API key is needed"),
    ModelNotFoundError: (404, "No such model or version"),
    NotAcceptableError: (406, "Not acceptable"),
    BodyTimeoutError: (408, "The body did not arrive in time"),
    BodyTooLargeError: (413, "The body is too large"),
    UnsupportedMediaTypeError: (415, "Unsupported media type"),
    InputError: (422, "Invalid input"),
    InvalidRequestError: (422, "Invalid input"),
    QueueFullError: (429, "Too many images are waiting"),
    RateLimitedError: (429, "The key's limit is reached"),
    # The client has gone; 499 (nginx's code) only labels the metric.
    ClientGoneError: (499, "Client closed request"),
    SlowReaderError: (499, "Client reads nothing"),
    NotReadyError: (503, "Not ready"),
    ArtifactError: (503, "The model is broken"),
    DeadlineError: (504, "The images were not ready in time"),
}
# The titles of each status.
TITLES = {
    status: "; ".join(dict.fromkeys(title for other, title in STATUSES.values() if other == status))
    for status, _ in STATUSES.values()
}
# The errors that ganmint_shed counts as load shedding, by reason.
SHED_REASONS: dict[type[GanmintError], str] = {
    QueueFullError: "queue_full",
    RateLimitedError: "rate_limit",
    NotReadyError: "not_ready",
    DeadlineError: "deadline",
    BodyTimeoutError: "body_timeout",
    ClientGoneError: "client_gone",
    SlowReaderError: "slow_reader",
}


def error_from_validation(error: ValidationError) -> GanmintError:
    """Convert a body's validation error to one that names the fields."""
    problems = list_problems(error)
    if problems[0].kind == "json_invalid":
        return MalformedBodyError(problems[0].message.removeprefix("Invalid JSON: "))
    return InvalidRequestError([(problem.field or "body", _rephrase(problem)) for problem in problems])


def problem_response(
    status: int,
    title: str,
    detail: str,
    errors: list[tuple[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Make an RFC 9457 response.

    Args:
        status: the HTTP status.
        title: short and the same for every error of its kind.
        detail: what is wrong in this case.
        errors: one (field, message) for each field at fault.
        headers: further headers.
    """
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = [{"field": field, "message": message} for field, message in errors]
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def install_handlers(app: FastAPI) -> None:
    """Turn every error of the app into a problem+json response, and count shed load in `app.state.metrics`."""
    for reason in (*SHED_REASONS.values(), *http_protocol.REASONS):
        # Initialise to 0 so that rate() sees the first increment.
        app.state.metrics.shed.labels(reason)
    app.add_exception_handler(GanmintError, handle_ganmint_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    app.add_exception_handler(Exception, _handle_bug)


async def handle_ganmint_error(request: Request, error: Exception) -> Response:
    """Make the response of a GanmintError, and count it if it sheds load."""
    kind = _find_kind(error)
    if kind is None:
        return await _handle_bug(request, error)
    _count_shed(request.app, kind)
    status, title = STATUSES[kind]
    headers: dict[str, str] = getattr(error, "headers", {})
    if status == 503:
        headers = {"Retry-After": "5"}
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    fields = getattr(error, "errors", None)
    if isinstance(error, InputError):
        fields = [(error.field, error.reason)]
    if isinstance(error, ModelNotFoundError):
        fields = [(error.field, str(error))]
    detail = str(error)
    if isinstance(error, ArtifactError):
        detail = describe_load_error(error)
    return problem_response(status, title, detail, fields, headers)


def note_cut(scope: Scope, error: Exception) -> None:
    """Note why a response was cut off after its status was sent: for the metrics of the request, and in the log."""
    kind = _find_kind(error)
    scope["state"][CUT_STATUS] = STATUSES[kind][0] if kind else 500
    if kind:
        _count_shed(scope["app"], kind)
    log.warning("the response to %s %s was cut off: %s", scope["method"], scope["path"], error)


def _find_kind(error: Exception) -> type[GanmintError] | None:
    return next((kind for kind in type(error).__mro__ if kind in STATUSES), None)


def _count_shed(app: FastAPI, kind: type[GanmintError]) -> None:
    if kind in SHED_REASONS:
        app.state.metrics.shed.labels(SHED_REASONS[kind]).inc()


def describe_load_error(error: GanmintError) -> str:
    """Say why a model is not served, without the server's file paths, which callers must not see."""
    if isinstance(error, NotReadyError):
        return str(error)
    if isinstance(error, SignatureError):
        return "this model is not signed by the key that this service trusts, and is not served"
    return "this model failed its checks and is not served; see the server's log or run: ganmint models verify"


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Make the response of an error that the framework or a route raised with a status."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        # Every GET route also serves HEAD (service.middleware).
        allowed = (error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD") + ", OPTIONS"
        error.headers = {"Allow": allowed}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=error.headers)
    title = HTTPStatus(error.status_code).phrase
    reason = EXTENSION_ADVICE if _lacks_extension(error, request) else error.detail
    response = problem_response(error.status_code, title, f"{request.method} {request.url.path}: {reason}")
    response.headers.update(error.headers or {})
    return response


def _lacks_extension(error: HTTPException, request: Request) -> bool:
    """Tell whether an image's URL was not found because it names no format."""
    path = request.url.path[len(request.scope.get("root_path", "")) :]
    return error.status_code == 404 and bool(_WITHOUT_EXTENSION.fullmatch(path))


async def _handle_bug(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    return problem_response(500, "Internal error", "an unexpected error; see the server's log")


def _rephrase(problem: FieldProblem) -> str:
    """Put pydantic's message in the words of the other errors."""
    if problem.kind == "extra_forbidden":
        close = difflib.get_close_matches(str(problem.path[-1]), GenerateRequest.model_fields, n=1)
        return f"there is no such field{f' (did you mean {close[0]}?)' if close else ''}"
    if problem.kind == "missing":
        return "is required"
    return problem.message.replace("Input should", "must", 1)
