"""What goes wrong on the page: where it is said, and whether the picture is marked as out of date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model_copies import install_copy, revise_with_directions
from tests.service.play.tab import Tab, full, playwright

START = full("7/0?label=1")
OFF = "Object.defineProperty(navigator, 'clipboard', { value: undefined });"


def _expect_picture(tab: Tab, is_stale: bool) -> None:
    playwright.expect(tab.page.locator("#picture.stale")).to_have_count(int(is_stale))


@pytest.mark.parametrize(
    ("action", "place", "words"),
    [
        ("copy", "#wrong-copy", "copy the selected text by hand"),
        ("share", "#wrong-copy", "copy the address of this page by hand"),
        ("download", "#wrong-copy", "The service could not be reached."),
        ("paste", "#wrong-paste", "paste from: must be of tiny/1.0.0, and not of none/1.0.0"),
        ("verify", "#answer", "ours.png: The service could not be reached."),
    ],
)
def test_what_is_done_beside_the_picture_fails_in_its_own_place(
    browser: Any, service: str, action: str, place: str, words: str
) -> None:
    tab = Tab(browser, service, may_log="ERR_FAILED")
    page = tab.page
    page.add_init_script(f"{OFF} document.execCommand = () => false;")
    tab.show(START)
    tab.wait_for_thumbnails("following-list", 12, full("7/12?label=1"))
    page.route("**/v1/**", lambda route: route.abort())
    if action == "copy":
        page.click("[data-copy=curl]")
        assert page.evaluate("String(getSelection())").startswith("curl")
    elif action == "share":
        page.click("#share")
    elif action == "download":
        page.click("#download")
    elif action == "paste":
        page.click("#edits summary")
        page.fill("#source", "none/1.0.0/7/0")
        page.press("#source", "Enter")
    else:
        page.set_input_files("#file", {"name": "ours.png", "mimeType": "image/png", "buffer": b"?"})
    playwright.expect(page.locator(place)).to_contain_text(words)
    playwright.expect(page.locator(place)).to_be_in_viewport()
    playwright.expect(page.locator("#trouble")).to_be_hidden()
    _expect_picture(tab, is_stale=False)
    if place != "#answer":
        page.click("#next")
        playwright.expect(page.locator(place)).to_be_hidden()
    tab.close()


def test_without_a_clipboard_the_page_copies_as_pages_always_did(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page = tab.page
    page.add_init_script(OFF)
    page.add_init_script("document.addEventListener('copy', () => { globalThis.copied = String(getSelection()); })")
    tab.show(START)
    page.focus("[data-copy=curl]")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("[data-copy=curl]")).to_have_text("Copied")
    playwright.expect(page.locator("[data-copy=curl]")).to_be_focused()
    assert page.evaluate("copied") == page.locator("#curl").inner_text()
    tab.close()


def test_a_field_that_is_wrong_marks_the_picture_until_it_is_mended(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.show(START)
    tab.page.fill("#index", "")
    playwright.expect(tab.page.locator("#index")).to_have_attribute("aria-invalid", "true")
    playwright.expect(tab.page.locator("#trouble")).to_be_hidden()
    _expect_picture(tab, is_stale=False)
    tab.page.fill("#index", "none")
    playwright.expect(tab.page.locator("#trouble")).to_contain_text("index: must be a whole number")
    _expect_picture(tab, is_stale=True)
    tab.page.fill("#index", "0")
    playwright.expect(tab.page.locator("#trouble")).to_be_hidden()
    _expect_picture(tab, is_stale=False)
    tab.close()


def test_a_picture_that_cannot_be_had_marks_the_one_before_until_there_is_one(browser: Any, service: str) -> None:
    tab = Tab(browser, service, may_log="429")
    page = tab.page
    page.route("**/generator.safetensors", lambda route: route.fulfill(status=429, json={"detail": "Too many."}))
    page.goto(f"{service}/play#{START}")
    playwright.expect(page.locator("#trouble")).to_have_text("Too many.")
    _expect_picture(tab, is_stale=True)
    page.unroute("**/generator.safetensors")
    page.click("#again")
    tab.wait_for(START)
    playwright.expect(page.locator("#trouble")).to_be_hidden()
    _expect_picture(tab, is_stale=False)
    tab.close()


def test_small_pictures_that_cannot_be_had_leave_the_large_one(browser: Any, service: str) -> None:
    tab = Tab(browser, service, may_log="Failed to load resource")
    page = tab.page
    page.route("**/generator.safetensors", lambda route: route.fulfill(status=403, json={"detail": "Kept."}))
    page.route(
        "**/v1/images/**/7/1.png*", lambda route: route.fulfill(status=429, json={"detail": "Too many of them."})
    )
    page.goto(f"{service}/play#{START}")
    playwright.expect(page.locator("#trouble")).to_have_text("Too many of them.")
    _expect_picture(tab, is_stale=False)
    tab.close()


def test_directions_whose_description_cannot_be_had_keep_their_sliders_and_get_it_later(
    browser: Any, start_app: Callable[..., str], tiny_artifact: Path, tmp_path: Path
) -> None:
    revise_with_directions(install_copy(tiny_artifact, tmp_path / "moved", name="moved").path)
    tab = Tab(browser, start_app(), may_log="429")
    page, plain, hint = tab.page, "moved/1.1.0/7/0?label=1", tab.page.locator("#dir-tilt-hint")
    page.route("**/directions.json", lambda route: route.fulfill(status=429, json={"detail": "Too many."}))
    with page.expect_response("**/directions.json"):
        tab.show(plain)
    page.locator("#dir-tilt").evaluate("slider => { slider.dataset.held = 'yes'; }")
    with page.expect_response("**/directions.json"):
        page.locator("#z0").fill("1")
    tab.wait_for(f"{plain}&z0=1")
    playwright.expect(page.locator("#dir-tilt")).to_have_attribute("data-held", "yes")
    playwright.expect(hint).to_have_text("")
    page.unroute("**/directions.json")
    page.locator("#dir-tilt").fill("1.5")
    tab.wait_for(f"{plain}&z0=1&dir.tilt=1.5")
    playwright.expect(hint).to_have_text("more tilt; checked to ±1.5")
    playwright.expect(page.locator("#dir-tilt")).to_have_attribute("data-held", "yes")
    asked = tab.requests.count("/v1/models/moved/1.1.0/directions.json")
    tab.show(plain)
    tab.wait_for_thumbnails("following-list", 12, "moved/1.1.0/7/12?label=1")
    assert tab.requests.count("/v1/models/moved/1.1.0/directions.json") == asked
    tab.close()


def test_a_change_that_is_refused_leaves_the_controls_and_the_picture_as_they_were(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page = tab.page
    tab.show(START)
    page.locator("#label").evaluate("list => list.append(new Option('none', 7))")
    page.select_option("#label", "7")
    playwright.expect(page.locator("#trouble")).to_have_text("label: must be 0 to 2")
    playwright.expect(page.locator("#label")).to_have_value("1")
    _expect_picture(tab, is_stale=False)
    assert page.url.endswith(START)
    tab.show(full("7/0?label=2"))
    playwright.expect(page.locator("#trouble")).to_be_hidden()
    page.evaluate("location.hash = 'tiny/1.0.0/7/0?label=9'")
    playwright.expect(page.locator("#trouble")).to_have_text("label: must be 0 to 2")
    playwright.expect(page.locator("#label")).to_have_value("2")
    _expect_picture(tab, is_stale=False)
    tab.close()


@pytest.mark.parametrize("address", [full("7/0?label=9"), "tiny/1.0.0"])
def test_beside_an_address_that_is_wrong_is_an_image_of_its_model(
    browser: Any, start_app: Callable[..., str], tiny_artifact: Path, tmp_path: Path, address: str
) -> None:
    install_copy(tiny_artifact, tmp_path / "copy", name=f"a{len(address)}")
    tab = Tab(browser, start_app())
    tab.page.goto(f"{tab.url}/play#{address}")
    tab.wait_for(full("7/0"))
    playwright.expect(tab.page.locator("#trouble")).not_to_be_empty()
    tab.close()
