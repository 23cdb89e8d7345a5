"""Editing feature maps on the page, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models import artifact
from models.artifact_files import UNITS
from models.revision import revise
from models.units import Level, Unit, Units, dump_units
from tests.model_copies import install_copy
from tests.service.play.tab import Tab, full, playwright

START = full("7/0?label=1")
NO_SOURCES = ("7", "", "abc", "7.-1", "7.0.0", "tiny/1.0.0/7")
# The alpha values of a heat map: 0 where a value is 0, 255 where it is the largest.
READ_ALPHA = """canvas => [...new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
    .filter((_, k) => k % 4 === 3))]"""


def _open(browser: Any, url: str, address: str = START, **options: Any) -> Tab:
    """Show an address and open the panel; the tiny model's levels have 8 units of 4x4 cells and 4 of 8x8."""
    tab = Tab(browser, url, **options)
    tab.show(address)
    tab.page.click("#edits summary")
    return tab


def _drag(tab: Tab, cells: int, corners: tuple[int, int, int, int]) -> None:
    """Drag from the first to the last cell of a rectangle (y0, x0, y1, x1) with the mouse."""
    tab.page.locator("#picture").scroll_into_view_if_needed()
    box = tab.page.locator("#picture").bounding_box()
    y0, x0, y1, x1 = ((at + shift) / cells for at, shift in zip(corners, (0.5, 0.5, -0.5, -0.5)))
    tab.page.mouse.move(box["x"] + x0 * box["width"], box["y"] + y0 * box["height"])
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + x1 * box["width"], box["y"] + y1 * box["height"])
    tab.page.mouse.up()


def _choose_level(tab: Tab, level: int) -> None:
    tab.page.locator("#levels input").nth(level).check(force=True)


def test_a_unit_is_shown_set_erased_and_put_back(browser: Any, service: str) -> None:
    tab = _open(browser, service)
    page, expect = tab.page, playwright.expect
    expect(page.locator("#units button")).to_have_count(8)
    _choose_level(tab, 1)
    page.wait_for_selector("#units:not(.numbers)")
    unit = page.locator("#units button").nth(2)
    unit.click()
    expect(page.locator("#map")).to_be_visible()
    assert page.locator("#map").evaluate(READ_ALPHA) == unit.locator("canvas").evaluate(READ_ALPHA) != [0]
    page.focus("#value")
    page.keyboard.press("End")
    most = float(page.locator("#value").get_attribute("max"))
    tab.wait_for(f"{START}&u1.2={most:g}")
    assert tab.largest_difference(f"{START}&u1.2={most:g}") <= 1
    expect(page.locator("#map")).to_be_hidden()
    page.click("#erase")
    tab.wait_for(f"{START}&u1.2=0")
    assert tab.largest_difference(f"{START}&u1.2=0") <= 1
    # The maps are those of the present image.
    expect(page.locator("#units .edited")).to_have_count(1)
    expect(page.locator("#value-now")).to_have_text("0")
    page.click("#put-back")
    tab.wait_for(START)
    expect(page.locator("#chips")).to_be_hidden()
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    tab.close()


def test_the_heat_maps_are_of_the_present_image(browser: Any, service: str) -> None:
    tab = _open(browser, service, f"{START}&u0.3=0&u0.4=2_0_0_2_4")
    tab.page.wait_for_selector("#units:not(.numbers)")
    maps = tab.page.locator("#units canvas")
    assert maps.nth(3).evaluate(READ_ALPHA) == [0]
    assert 0 not in maps.nth(4).evaluate(READ_ALPHA)
    edited = tab.page.locator("#units .edited").evaluate_all("tiles => tiles.map(({ dataset }) => dataset.unit)")
    assert edited == ["3", "4"]
    tab.close()


def test_units_are_chosen_by_keys_together_and_by_strength(browser: Any, service: str) -> None:
    tab = _open(browser, service)
    page, choice = tab.page, tab.page.locator("#choice")
    page.wait_for_selector("#units:not(.numbers)")
    page.focus("#units button")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    playwright.expect(choice).to_have_text("unit 1 of level 0")
    page.check("#several")
    page.click("#units button:nth-child(5)")
    playwright.expect(choice).to_have_text("2 of 8 chosen")
    page.click("#erase")
    tab.wait_for(f"{START}&u0.1=0&u0.4=0")
    edited = page.locator("#edited")
    playwright.expect(edited).to_have_text("2 of at most 64 units edited")
    _choose_level(tab, 1)
    page.click("#units button:nth-child(1)")
    page.click("#erase")
    playwright.expect(edited).to_have_text("3 of at most 64 units edited")
    page.click("#put-back")
    _choose_level(tab, 0)
    chip = page.locator("#chips button")
    playwright.expect(chip).to_have_text("Level 0, 2 units erased: everywhere×")
    page.click("#strongest")
    playwright.expect(choice).to_have_text("8 of 8 chosen")
    chip.click()
    tab.wait_for(START)
    playwright.expect(edited).to_have_text("")
    tab.close()


def test_units_are_chosen_by_the_names_that_the_model_has(
    browser: Any, start_app: Callable[..., str], tiny_artifact: Path
) -> None:
    units = Units(
        images=8,
        concepts=("hole", "stroke"),
        origin="a test",
        levels=(
            Level(
                level=0,
                side=4,
                units=(
                    Unit(unit=5, effect=3, concept="hole", iou=0.1, share=0.2),
                    Unit(unit=2, effect=2),
                    Unit(unit=1, effect=1, concept="stroke", iou=0.3, share=0.2),
                    Unit(unit=7, effect=1, concept="hole", iou=0.2, share=0.2),
                ),
            ),
            Level(level=1, side=8, units=()),
        ),
    )
    revise(artifact.read(tiny_artifact), {UNITS: dump_units(units)})
    address = START.replace("1.0.0", "1.1.0")
    tab = _open(browser, start_app(), address)
    page, choice, expect = tab.page, tab.page.locator("#choice"), playwright.expect
    expect(page.locator("#concept option")).to_have_text(["Choose by name", "hole", "stroke"])
    page.select_option("#concept", "hole")
    expect(choice).to_have_text("2 of 8 chosen")
    page.click("#erase")
    tab.wait_for(f"{address}&u0.5=0&u0.7=0")
    page.click("#units button[title='unit 1: stroke, IoU 0.30']")
    expect(choice).to_have_text("unit 1 of level 0: stroke")
    _choose_level(tab, 1)
    expect(page.locator("#concept")).to_be_hidden()
    tab.close()


def test_a_rectangle_is_drawn_moved_resized_and_taken_away(browser: Any, service: str) -> None:
    tab = _open(browser, service)
    page, cells = tab.page, tab.page.locator("#cells")
    _choose_level(tab, 1)
    _drag(tab, 8, (2, 1, 5, 4))
    playwright.expect(cells).to_contain_text("rows 2 to 4, columns 1 to 3")
    _drag(tab, 8, (3, 2, 5, 6))  # from inside: moves it by a row and three columns
    playwright.expect(cells).to_contain_text("rows 3 to 5, columns 4 to 6")
    for keys in ("ArrowUp", "ArrowRight", "ArrowRight", "Shift+ArrowDown", "Shift+ArrowLeft"):
        page.keyboard.press(keys)
    playwright.expect(cells).to_contain_text("rows 2 to 5, columns 5 to 6")
    _choose_level(tab, 0)  # of half the side: whole cells, nothing is left out
    playwright.expect(cells).to_contain_text("rows 1 to 2, columns 2 to 3")
    page.focus("#rectangle")
    page.keyboard.press("Delete")
    playwright.expect(page.locator("#rectangle")).to_be_hidden()
    page.click("#units button:nth-child(1)")
    page.click("#erase")
    tab.wait_for(f"{START}&u0.0=0")
    tab.close()


def test_a_tap_chooses_a_cell(browser: Any, service: str) -> None:
    tab = _open(browser, service, has_touch=True, viewport={"width": 390, "height": 844})
    box = tab.page.locator("#picture").bounding_box()
    tab.page.touchscreen.tap(box["x"] + 0.6 * box["width"], box["y"] + 0.3 * box["height"])
    playwright.expect(tab.page.locator("#cells")).to_contain_text("row 1, column 2")
    tab.close()


def test_a_part_of_another_image_is_pasted_and_taken_back(browser: Any, service: str) -> None:
    tab = _open(browser, service)
    page = tab.page
    links = tab.wait_for_thumbnails("sources", 12, full("7/12?label=1"))
    links.nth(1).click()
    # Without a rectangle: in the middle.
    tab.wait_for(f"{START}&paste=0_7.2_1_1_1_3_3")
    page.locator("#chips button").click()
    tab.wait_for(START)
    page.press("#rectangle", "Delete")
    _drag(tab, 4, (1, 0, 3, 2))
    links.nth(1).click()
    first = f"{START}&paste=0_7.2_1_1_0_3_2"
    tab.wait_for(first)
    assert tab.largest_difference(first) <= 1
    assert page.locator("#permanent").inner_text() == first and first in page.locator("#python").inner_text()
    page.focus("#rectangle")
    page.keyboard.press("ArrowRight")
    for source, expected in (("9.5", "0_9.5_1_1_1_3_3"), (f"{service}/play#{full('8/0?label=2')}", "0_8.0_2_1_1_3_3")):
        page.fill("#source", source)
        page.press("#source", "Enter")
        tab.wait_for(f"{first}&paste={expected}")  # it covers the one before
    assert tab.largest_difference(f"{first}&paste=0_8.0_2_1_1_3_3") <= 1
    page.locator("#chips button").first.click()
    tab.wait_for(f"{START}&paste=0_8.0_2_1_1_3_3")
    page.go_back()
    tab.wait_for(f"{first}&paste=0_8.0_2_1_1_3_3")
    page.click("text=Clear all")
    tab.wait_for(START)
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    tab.close()


def test_edits_stay_from_image_to_image_also_past_the_source_of_a_paste(browser: Any, service: str) -> None:
    edits = "paste=0_7.2_1_1_0_3_2&u1.3=0"
    tab = _open(browser, service, f"{START}&{edits}")
    page, last = tab.page, full(f"7/12?label=1&{edits}")
    links = tab.wait_for_thumbnails("following-list", 12, last)
    assert tab.largest_difference(last, "#following-list li:last-child canvas") <= 1
    assert links.nth(1).get_attribute("href") == f"#{full('7/2?label=1&u1.3=0')}"
    page.click("#next")
    tab.wait_for(full(f"7/1?label=1&{edits}"))
    tab.wait_for_thumbnails("following-list", 12, last.replace("/12?", "/13?")).first.click()
    # The paste is of this image.
    own = full(f"7/2?label=1&{edits}")
    tab.wait_for(own)
    playwright.expect(page.locator("#permanent")).to_have_text(full("7/2?label=1&u1.3=0"))
    playwright.expect(page.locator("#chips button")).to_have_count(3)
    page.reload()
    tab.wait_for(own)
    page.fill("#seed", "8")
    tab.wait_for(full(f"8/2?label=1&{edits}"))
    assert tab.largest_difference(full(f"8/2?label=1&{edits}")) <= 1
    page.go_back()
    tab.wait_for(own)
    page.click("text=Clear all")
    tab.wait_for(full("7/2?label=1"))
    tab.close()


def test_a_walk_to_the_source_of_a_paste_ends_with_the_source_itself(browser: Any, service: str) -> None:
    paste = "paste=0_7.2_1_1_0_3_2"
    tab = Tab(browser, service)
    line = tab.page.locator("#walk-line")
    tab.show(f"{START}&to=7.2&at=0.5&{paste}")
    links = tab.wait_for_thumbnails("walk-list", 9, full("7/2?label=1"))
    assert links.first.get_attribute("href") == f"#{START}&{paste}"
    assert tab.largest_difference(full("7/2?label=1"), "#walk-list li:last-child canvas") <= 1
    # The ends differ in more than the latent: this is no walk of `ganmint walk`.
    playwright.expect(line).to_be_hidden()
    tab.show(full(f"7/2?label=1&to=8.0&at=0.5&{paste}"))
    links = tab.wait_for_thumbnails("walk-list", 9, full(f"8/0?label=1&{paste}"))
    assert links.first.get_attribute("href") == f"#{full('7/2?label=1')}"
    playwright.expect(line).to_be_hidden()
    tab.show(f"{START}&to=8.0&at=0.5&{paste}")
    playwright.expect(line).to_contain_text(f"{START}&{paste}")
    tab.close()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        *(
            (text, f"paste from: must be SEED.INDEX such as 7.0, or an address such as {full('7/0')}")
            for text in NO_SOURCES
        ),
        (f"{2**53}.0", f"paste from: must be a whole number from 0 to {2**53 - 1}"),
        ("faces/1.0.0/7/0", "paste from: must be of tiny/1.0.0, and not of faces/1.0.0"),
        (full("7/2?z0=1"), "paste from: must be an address with seed and index and without edits"),
        (full("7/2?psi=0.5"), "paste from: must have the psi of this image, 1"),
        (full("7/2?label=9"), "paste: the labels are 0 to 2"),
        ("7.0", "paste: changes nothing, because it is of the image itself: 0_7.0_1_1_1_3_3"),
        (full("7/0?unknown=1"), "address: has the part unknown=1, which this page does not know"),
    ],
)
def test_what_cannot_be_pasted_says_why(open_panel: Tab, source: str, message: str) -> None:
    open_panel.page.fill("#source", source)
    open_panel.page.press("#source", "Enter")
    playwright.expect(open_panel.page.locator("#wrong-paste")).to_have_text(message)


@pytest.fixture(scope="module")
def open_panel(browser: Any, service: str) -> Any:
    """A page with a rectangle."""
    tab = _open(browser, service)
    tab.page.check("#in-rectangle", force=True)
    yield tab
    tab.close()


def test_a_paste_too_many_is_refused_and_the_image_stays(browser: Any, service: str) -> None:
    pastes = "&".join(f"paste=1_8.{k}_1_{k}_0_{k + 1}_1" for k in range(4))
    tab = _open(browser, service, f"{START}&{pastes}")
    tab.page.check("#in-rectangle", force=True)
    tab.page.fill("#source", "1.1")
    tab.page.press("#source", "Enter")
    playwright.expect(tab.page.locator("#wrong-paste")).to_have_text(
        "paste: is given 5 times; an address has at most 4"
    )
    playwright.expect(tab.page.locator("#chips button")).to_have_count(5)
    assert tab.page.url.endswith(pastes)
    tab.page.locator("#chips button").first.click()
    playwright.expect(tab.page.locator("#wrong-paste")).to_be_hidden()
    tab.close()


def test_a_model_whose_feature_maps_cannot_be_edited_has_no_panel(
    browser: Any, start_app: Callable[..., str], tiny_artifact: Path, tmp_path: Path
) -> None:
    install_copy(tiny_artifact, tmp_path / "old", name="old")
    tab = Tab(browser, start_app())

    def make_old(route: Any) -> None:
        models = route.fetch().json()["models"]
        changed = [model | ({"schema_version": 1} if model["name"] == "old" else {}) for model in models]
        route.fulfill(json={"models": changed})

    tab.page.route("**/v1/models", make_old)
    tab.show(START)
    tab.page.click("#edits summary")
    tab.page.check("#in-rectangle", force=True)
    tab.page.click("#units:not(.numbers) button")
    tab.show("old/1.0.0/7/0?label=1")
    for hidden in ("#edits", "#map", "#rectangle"):
        playwright.expect(tab.page.locator(hidden)).to_be_hidden()
    tab.show(START)
    _drag(tab, 4, (1, 0, 3, 2))
    playwright.expect(tab.page.locator("#cells")).to_contain_text("rows 1 to 2, columns 0 to 1")
    tab.close()


def test_a_service_that_keeps_its_weights_edits_by_number(browser: Any, start_app: Callable[..., str]) -> None:
    tab = _open(browser, start_app(share_weights=False), may_log="403")
    note = tab.page.locator("#units-note")
    playwright.expect(note).to_contain_text("this service does not share the weights")
    tab.page.click("#units button:nth-child(4)")
    tab.page.click("#erase")
    tab.wait_for(f"{START}&u0.3=0")
    assert tab.largest_difference(f"{START}&u0.3=0") == 0
    tab.close()


def test_a_paste_takes_back_the_units_that_are_edited_in_its_rectangle(browser: Any, service: str) -> None:
    # Inside it; also outside of it; everywhere; beside it; of another level.
    units = ["u0.0=0_1_0_2_2", "u0.1=0_0_0_2_2", "u0.2=0", "u0.3=0_0_0_1_4", "u1.0=0_2_0_4_2"]
    tab = _open(browser, service, f"{START}&{'&'.join(units)}")
    note = tab.page.locator("#paste-note")
    _drag(tab, 4, (1, 0, 3, 2))
    tab.page.fill("#source", "9.5")
    tab.page.press("#source", "Enter")
    pasted = f"{START}&paste=0_9.5_1_1_0_3_2&{'&'.join(units[1:])}"
    tab.wait_for(pasted)
    playwright.expect(note).to_have_text(
        "Edited units taken back: 1. Kept, as they are edited outside the rectangle, too: 2; "
        "buttons below the picture take them back."
    )
    playwright.expect(note).to_be_in_viewport()
    assert tab.largest_difference(pasted) <= 1
    tab.page.go_back()
    tab.wait_for(f"{START}&{'&'.join(units)}")
    playwright.expect(note).to_have_text("")
    tab.close()
