"""Which form of an answer the caller wants.

Knows: the Accept, Content-Type and If-None-Match headers (RFC 9110). Does not know: routes, models.
"""

from __future__ import annotations

import functools

from service.errors import NotAcceptableError, UnsupportedMediaTypeError

JSON = "application/json"
# What `curl -d` sends when nobody says otherwise; its body is JSON all the same.
_CURL_DEFAULT = "application/x-www-form-urlencoded"


@functools.lru_cache(maxsize=256)
def choose(accept: str | None, offers: tuple[str, ...]) -> str:
    """The offer that an Accept header prefers; on a tie, and without a header, the earlier offer.

    Raises: NotAcceptableError naming the offers.
    """
    if accept is None or not accept.strip():
        return offers[0]
    ranges = [_range(part) for part in accept.split(",")]
    qualities = [_quality(offer, ranges) for offer in offers]
    best = max(qualities)
    if best <= 0:
        raise NotAcceptableError(f"Accept: {accept} allows none of what is offered: {', '.join(offers)}")
    return offers[qualities.index(best)]


def check_json(content_type: str | None) -> None:
    """Let a body's Content-Type pass if it is JSON, missing, or curl's default.

    Raises: UnsupportedMediaTypeError.
    """
    kind = (content_type or JSON).partition(";")[0].strip().lower()
    if kind not in (JSON, _CURL_DEFAULT) and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaTypeError(f"Content-Type: send the body as {JSON}, not {kind}")


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller already has this version (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (p.strip().lower() for p in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """The most specific matching range decides."""
    for pattern in (offer, offer.split("/")[0] + "/*", "*/*"):
        for media, quality in ranges:
            if media == pattern:
                return quality
    return 0.0
