"""Interprets request headers: Accept, Accept-Encoding, Content-Type, If-None-Match (RFC 9110) and Ganmint-Timeout-S."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from models.errors import InputError
from service.errors import NotAcceptableError, UnsupportedMediaTypeError

JSON = "application/json"
BINARY = "application/octet-stream"
TIMEOUT_HEADER = "Ganmint-Timeout-S"
# `curl -d` sends this by default; the body is JSON all the same.
_CURL_DEFAULT = "application/x-www-form-urlencoded"


@functools.lru_cache(maxsize=256)
def choose_media_type(accept: str | None, offers: tuple[str, ...]) -> str:
    """Choose the offer that an Accept header prefers; on a tie, and without a header, the earlier offer.

    Raises:
        NotAcceptableError: when the header allows none; names the offers.
    """
    if accept is None or not accept.strip():
        return offers[0]
    ranges = [_parse_range(part) for part in accept.split(",")]
    qualities = [_find_quality(offer, ranges) for offer in offers]
    best = max(qualities)
    if best <= 0:
        raise NotAcceptableError(f"Accept: {accept} allows none of: {', '.join(offers)}")
    return offers[qualities.index(best)]


@functools.lru_cache(maxsize=256)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether an Accept-Encoding header allows gzip; without a header, no."""
    if not accept_encoding:
        return False
    qualities = dict(_parse_range(part) for part in accept_encoding.split(","))
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def check_json_content_type(content_type: str | None) -> None:
    """Accept a body whose Content-Type is JSON, missing, or curl's default.

    Raises:
        UnsupportedMediaTypeError: for any other type.
    """
    kind = (content_type or JSON).partition(";")[0].strip().lower()
    if kind not in (JSON, _CURL_DEFAULT) and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaTypeError(f"Content-Type: send the body as {JSON}, not {kind}")


def check_picture_content_type(content_type: str | None, media_types: Sequence[str]) -> None:
    """Accept a body whose Content-Type is a picture's, unspecific, missing, or curl's default.

    What the body is, is then read from its bytes.

    Raises:
        UnsupportedMediaTypeError: for any other type.
    """
    kind = (content_type or BINARY).partition(";")[0].strip().lower()
    if kind not in (*media_types, BINARY, _CURL_DEFAULT):
        raise UnsupportedMediaTypeError(
            f"Content-Type: send the file itself as {', '.join(media_types)}, not {kind}; "
            "with curl: --data-binary @FILE"
        )


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client already has this version (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def parse_timeout_s(header: str | None, max_s: float) -> float:
    """Return the time limit of a request: what its header says, at most `max_s`.

    Raises:
        InputError: when the header is not a number above 0.
    """
    if header is None:
        return max_s
    try:
        timeout_s = float(header)
    except ValueError:
        timeout_s = float("nan")
    if not 0 < timeout_s < float("inf"):
        raise InputError(f"must be a number of seconds above 0, got {header!r}", TIMEOUT_HEADER)
    return min(timeout_s, max_s)


def _parse_range(part: str) -> tuple[str, float]:
    """Split one media range into its type and its quality, 0 to 1."""
    media, *parameters = (p.strip().lower() for p in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return media, 0.0
    return media, 1.0


def _find_quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that matches the offer; 0 where none does."""
    for pattern in (offer, offer.split("/")[0] + "/*", "*/*"):
        for media, quality in ranges:
            if media == pattern:
                return quality
    return 0.0
