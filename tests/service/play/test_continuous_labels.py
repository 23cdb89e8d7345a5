"""A model with a continuous label on the pages, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from models import store
from tests.service.play.tab import Tab, playwright

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core: pip install '.[dev]'")

START = "ages/1.0.0/7/0"


@pytest.fixture(scope="module")
def ages(start_app: Callable[..., str], continuous_artifact: Path) -> str:
    """The URL of a service with the model `ages`, whose ages are 18 to 92 in 100 steps."""
    store.install(continuous_artifact)
    return start_app()


def test_the_value_has_its_name_and_a_slider(browser: Any, ages: str) -> None:
    tab = Tab(browser, ages)
    page, expect = tab.page, playwright.expect
    tab.show(START)
    drawn = page.locator("#label-value").input_value()
    slider, value = page.locator("#label-value"), page.locator("output[for=label-value]")
    expect(page.locator("#label")).to_be_hidden()
    expect(page.locator("label[for=label-value]")).to_contain_text("age")
    expect(value).to_contain_text(", drawn")
    expect(page.locator("#permanent")).to_have_text(f"{START}?label={drawn}")
    slider.fill("26")
    tab.wait_for(f"{START}?label=26")
    expect(value).to_have_text("37.24")
    expect(slider).to_have_attribute("aria-valuetext", "37.24")
    expect(page.locator("#title")).to_have_text("Image 0: age 37.24")
    assert tab.largest_difference(f"{START}?label=26") <= 1
    for line in ("curl", "python"):
        expect(page.locator(f"#{line}")).to_contain_text("label=26")
    page.click("#share")
    other = Tab(browser, ages)
    other.page.goto(page.url)
    other.wait_for(f"{START}?label=26")
    expect(other.page.locator("#label-value")).to_have_value("26")
    other.close()
    slider.press("Delete")
    tab.wait_for(START)
    expect(slider).to_have_value(drawn)
    tab.close()


def test_keys_change_the_value(browser: Any, ages: str) -> None:
    tab = Tab(browser, ages)
    tab.show(f"{START}?label=99")
    playwright.expect(tab.page.locator("#keys")).to_contain_text("↑ and ↓ change the age")
    for key, label in [("ArrowUp", 100), ("ArrowUp", 100), ("ArrowDown", 99), ("3", 99)]:
        tab.page.press("#picture", key)
        tab.wait_for(f"{START}?label={label}")
    tab.page.press("#label-value", "Home")
    tab.wait_for(f"{START}?label=0")
    tab.close()


def test_the_end_of_a_walk_has_a_value_of_its_own(browser: Any, ages: str) -> None:
    tab = Tab(browser, ages)
    page, end, expect = tab.page, tab.page.locator("#tolabel-value"), playwright.expect
    tab.show(f"{START}?label=26")
    expect(end).to_be_disabled()
    page.get_by_role("button", name="To another age").click()
    tab.wait_for(f"{START}?label=26&to=7.0&tolabel=100&at=0.5")
    expect(page.locator("output[for=tolabel-value]")).to_have_text("92")
    end.fill("27")
    # There is no way between two ends that are the same: the slider passes over the value of the other.
    end.press("ArrowLeft")
    mixed = f"{START}?label=26&to=7.0&tolabel=25&at=0.5"
    tab.wait_for(mixed)
    expect(page.locator("#title")).to_have_text("Image 0: age 37.24 and 36.5")
    assert tab.largest_difference(mixed) <= 1
    page.press("#label-value", "ArrowLeft")
    tab.wait_for(f"{START}?label=24&to=7.0&tolabel=25&at=0.5")
    page.press("#picture", "ArrowUp")
    tab.wait_for(f"{START}?label=26&to=7.0&tolabel=25&at=0.5")
    page.fill("#to-seed", "8")
    tab.wait_for(f"{START}?label=26&to=8.0&at=0.5")
    expect(page.locator("output[for=tolabel-value]")).to_have_text("37.24, the same")
    end.fill("90")
    tab.wait_for(f"{START}?label=26&to=8.0&tolabel=90&at=0.5")
    end.locator("..").get_by_role("button", name="Put back").click()
    tab.wait_for(f"{START}?label=26&to=8.0&at=0.5")
    tab.close()


def test_where_the_other_end_is_the_last_value_the_slider_stays(browser: Any, ages: str) -> None:
    tab = Tab(browser, ages)
    address = f"{START}?label=99&to=7.0&tolabel=100&at=0.5"
    tab.show(address)
    tab.page.press("#label-value", "ArrowRight")
    tab.page.press("#label-value", "ArrowLeft")
    tab.wait_for(address.replace("99", "98"))
    tab.close()


def test_axe_finds_no_serious_fault(browser: Any, ages: str) -> None:
    tab = Tab(browser, ages)
    tab.show(f"{START}?label=26&to=7.0&tolabel=100&at=0.5")
    violations = axe.Axe().run(tab.page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
    tab.close()


def test_the_page_that_mints_many_asks_for_a_value_by_its_name(browser: Any, ages: str) -> None:
    tab = Tab(browser, ages)
    page, expect = tab.page, playwright.expect
    page.goto(f"{ages}/?model=ages&n=4")
    expect(page.locator("#status")).to_contain_text("4 synthetic images")
    expect(page.locator("#labels option")).to_have_text(["drawn from the seed", "each value in turn", "age 55"])
    expect(page.locator("#scale-value")).to_have_text("")
    page.locator("#scale").fill("26")
    expect(page.locator("#picked-title")).to_have_text("Image 0, age 37.24")
    expect(page.locator("#scale-value")).to_have_text("37.24")
    expect(page.locator("#labels")).to_have_value("26")
    expect(page.locator("#permanent")).to_have_text(f"{START}?label=26")
    curl = page.locator("#grid-curl").inner_text()
    body = json.loads(curl.split("-d '")[1].split("'")[0])
    assert body["labels"] == {"age": 37.24}
    assert httpx.post(f"{ages}/generate", json=body, verify=False).json()["images"][0]["address"] == f"{START}?label=26"
    page.reload()
    expect(page.locator("#scale")).to_have_value("26")
    expect(page.locator("#labels option")).to_have_text(["drawn from the seed", "each value in turn", "age 37.24"])
    page.select_option("#labels", "balanced")
    expect(page.locator("#picked-title")).to_have_text("Image 0, age 18")
    expect(page.locator("#scale-value")).to_have_text("")
    page.goto(f"{ages}/?model=tiny&n=4")
    expect(page.locator("#scale")).to_be_hidden()
    tab.close()
