"""Errors over HTTP: one exception tree, mapped to statuses in this one place (RFC 9457).

Knows: which exception is which status, and the shape of application/problem+json. Does not know:
routes, models.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from models.base import list_problems
from models.errors import ArtifactError, GanmintError, InputError, ModelNotFoundError, SignatureError

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("ganmint.service")


class MalformedBodyError(GanmintError):
    """The body is not JSON."""


class BodyTooLargeError(GanmintError):
    """The body has more bytes than are read."""


class BodyTimeoutError(GanmintError):
    """The body did not arrive within the request's time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the body had not arrived after {timeout_s:g} s; send it at once, and all of it")
        # Where the rest of it would come, no other request can.
        self.headers = {"Connection": "close"}


class NotAcceptableError(GanmintError):
    """The Accept header allows nothing that is offered."""


class UnsupportedMediaTypeError(GanmintError):
    """The Content-Type is not JSON."""


class InvalidRequestError(GanmintError):
    """Fields of the request are wrong; carries one (field, message) for each."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in errors))
        self.errors = errors


class QueueFullError(GanmintError):
    """No room for the request's images; try again after `retry_after_s`."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many images are waiting; try again in {retry_after_s} s")
        self.headers = {"Retry-After": str(retry_after_s)}


class NotReadyError(GanmintError):
    """The service, or this model, cannot answer now."""


class DeadlineError(GanmintError):
    """The images were not ready within the request's time."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the images were not ready within {timeout_s:g} s; ask for fewer, or later")


class ClientGoneError(GanmintError):
    """The caller hung up; the answer goes nowhere."""


class UnauthorizedError(GanmintError):
    """No API key, or not one of ours."""


class RateLimitedError(GanmintError):
    """The key has used up what it may ask for in this window."""

    def __init__(self, message: str, headers: dict[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


STATUS: dict[type[GanmintError], tuple[int, str]] = {
    MalformedBodyError: (400, "The body is not JSON"),
    UnauthorizedError: (401, "An API key is needed"),
    ModelNotFoundError: (404, "No such model"),
    NotAcceptableError: (406, "Not acceptable"),
    BodyTimeoutError: (408, "The body did not arrive"),
    BodyTooLargeError: (413, "The body is too large"),
    UnsupportedMediaTypeError: (415, "Unsupported media type"),
    InputError: (422, "Invalid input"),
    InvalidRequestError: (422, "Invalid input"),
    QueueFullError: (429, "Too many images are waiting"),
    RateLimitedError: (429, "The key's limit is reached"),
    # Nobody reads it; the number is nginx's, for the metrics.
    ClientGoneError: (499, "Client closed request"),
    NotReadyError: (503, "Not ready"),
    ArtifactError: (503, "The model is broken"),
    DeadlineError: (504, "Too late"),
}
# What counts as refused or dropped for lack of room or time, by reason.
SHED: dict[type[GanmintError], str] = {
    QueueFullError: "queue_full",
    RateLimitedError: "rate_limit",
    NotReadyError: "not_ready",
    DeadlineError: "deadline",
    BodyTimeoutError: "body_timeout",
    ClientGoneError: "client_gone",
}


def invalid_request(error: ValidationError) -> GanmintError:
    """What a body's validation error means to the caller."""
    problems = list_problems(error)
    if problems[0].kind == "json_invalid":
        return MalformedBodyError(problems[0].message.removeprefix("Invalid JSON: "))
    messages = {"extra_forbidden": "there is no such field", "missing": "is required"}
    return InvalidRequestError(
        [
            (problem.field or "body", messages.get(problem.kind, problem.message.replace("Input should", "must", 1)))
            for problem in problems
        ]
    )


def problem(
    status: int,
    title: str,
    detail: str,
    errors: list[tuple[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An RFC 9457 answer; `errors` names each field at fault."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = [{"field": field, "message": message} for field, message in errors]
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of the app a problem+json answer, and count what is shed in `app.state.metrics`."""
    for reason in SHED.values():
        # From 0 on: what appears with its first count has no rate until the second.
        app.state.metrics.shed.labels(reason)
    app.add_exception_handler(GanmintError, on_ganmint_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


async def on_ganmint_error(request: Request, error: Exception) -> Response:
    """One of ours as an answer, counted where something was refused or dropped."""
    kind = next((k for k in type(error).__mro__ if k in STATUS), None)
    if kind is None:
        return await _on_bug(request, error)
    if kind in SHED:
        request.app.state.metrics.shed.labels(SHED[kind]).inc()
    status, title = STATUS[kind]
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
    # A file's path is the operator's business, not the caller's.
    detail = str(error)
    if isinstance(error, ArtifactError):
        detail = refusal(error)
    return problem(status, title, detail, fields, headers)


def refusal(error: GanmintError) -> str:
    """Why a model is not served, for callers: without the paths of this machine."""
    if isinstance(error, SignatureError):
        return "this model is not signed by the key that this service trusts, and is not served"
    return "this model failed its checks and is not served; the server's log and ganmint models verify say why"


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        # Every GET route answers HEAD, too (service.middleware).
        allowed = (error.headers or {}).get("Allow", "").replace("GET", "GET, HEAD") + ", OPTIONS"
        error.headers = {"Allow": allowed}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=error.headers)
    title = HTTPStatus(error.status_code).phrase
    response = problem(error.status_code, title, f"{request.method} {request.url.path}: {error.detail}")
    response.headers.update(error.headers or {})
    return response


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    return problem(500, "Internal error", "an unexpected error; the server's log has it")
