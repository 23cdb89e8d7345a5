import pytest

from service.errors import NotAcceptableError, UnsupportedMediaTypeError
from service.negotiation import check_json_content_type, choose_media_type, etag_matches

OFFERS = ("application/json", "image/png", "image/webp")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("image/*, image/png;q=0.5", "image/webp"),
        ("text/html, */*;q=0.1", "application/json"),
        ("image/webp;q=0.9, image/png;q=0.8", "image/webp"),
        ("application/json;q=0, */*", "image/png"),
        ("image/png; q=0.5, application/json; q=0.4", "image/png"),
    ],
)
def test_the_accept_header_chooses(accept: str | None, media_type: str) -> None:
    assert choose_media_type(accept, OFFERS) == media_type


@pytest.mark.parametrize("accept", ["video/mp4", "application/json;q=0", "image/png;q=x", "nonsense", "*/*;q=0"])
def test_an_unacceptable_format_is_refused_naming_the_offers(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="application/json, image/png, image/webp"):
        choose_media_type(accept, OFFERS)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/x-www-form-urlencoded",
        "application/vnd.api+json",
    ],
)
def test_json_is_accepted_however_curl_sends_it(kind: str | None) -> None:
    check_json_content_type(kind)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "image/png", "text/json+json"])
def test_other_content_types_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="application/json"):
        check_json_content_type(kind)


def test_an_etag_matches_weak_listed_or_starred() -> None:
    assert etag_matches('"a"', '"a"')
    assert etag_matches('"b", W/"a"', '"a"')
    assert etag_matches("*", '"a"')
    assert not etag_matches('"b"', '"a"')
    assert not etag_matches(None, '"a"')
