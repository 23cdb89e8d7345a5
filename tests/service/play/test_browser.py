"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ganmint.cli import cli
from models.address import Address
from models.manifest import read_manifest
from models.walk import plan_walk
from service.auth import create_key
from service.text_seeds import make_seed
from tests.model_copies import install_copy, revise_with_directions
from tests.service.play.node import STATIC
from tests.service.play.tab import Tab, full, playwright

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core: pip install '.[dev]'")

WRITTEN = "z/AAAAPwAAgL_NzMw9AAAAQAAAgL4AAEBAAACAwQAAgEA"
ADDRESSES = [
    "7/0",
    "7/0?label=2",
    "9007199254740991/9007199254740991?psi=0.5",
    "7/0?to=8.0&at=0.5",
    "7/0?label=1&to=8.0&tolabel=2&at=0.25",
    "7/0?label=1&to=7.0&tolabel=0&at=0.75",
    "7/0?label=0&z0=-1.2345&z7=3",
    "7/0?psi=0.7&to=8.0&tolabel=2&at=0.6&z2=0.1&z3=-16",
    f"{WRITTEN}?label=1",
    f"{WRITTEN}?label=1&psi=0.5&to=0.0&tolabel=2&at=0.3333",
    "7/0?label=1&paste=0_8.0_2_1_0_3_2&u1.3=-1.5_2_2_8_4",
    "7/0?label=1&psi=0.5&to=8.0&at=0.5&paste=0_9.0_1_0_0_2_2&paste=1_7.0_1_1_2_4_8&u0.1=2.5",
    f"{WRITTEN}?label=1&u0.3=100&u1.0=0.25",
]


def test_the_picture_is_the_services_for_every_kind_of_address(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    for address in map(full, ADDRESSES):
        tab.show(address)
        assert tab.largest_difference(address) <= 1, address
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    assert "minted in this browser" in tab.page.locator("#where").inner_text()
    tab.close()


def test_without_webassembly_the_picture_is_the_same(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    script = f"delete globalThis.WebAssembly;\n{(STATIC / 'worker.mjs').read_text()}"
    tab.page.route("**/worker.mjs", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    for address in map(full, ADDRESSES[7:9]):
        tab.show(address)
        assert tab.largest_difference(address) <= 1, address
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    tab.close()


def test_a_service_that_keeps_its_weights_makes_the_picture(browser: Any, start_app: Callable[..., str]) -> None:
    tab = Tab(browser, start_app(share_weights=False), may_log="403")
    address = full(ADDRESSES[4])
    tab.show(address)
    assert tab.largest_difference(address) == 0
    assert "minted by the service" in tab.page.locator("#where").inner_text()
    assert "does not share the weights" in tab.page.locator("#note").inner_text()
    tab.close()


def test_a_link_restores_all_of_the_page(browser: Any, service: str) -> None:
    tab, other = Tab(browser, service), Tab(browser, service)
    tab.show(full("7/0"))
    tab.page.fill("#seed", "12")
    tab.page.fill("#index", "3")
    tab.page.select_option("#label", "2")
    tab.page.locator("#psi").fill("0.5")
    tab.page.locator("#z3").fill("1.25")
    address = full("12/3?label=2&psi=0.5&z3=1.25")
    tab.wait_for(address)
    tab.page.click("#share")
    assert tab.page.url == f"{service}/play#{address}"
    other.page.goto(tab.page.url)
    other.wait_for(address)
    assert (other.read_picture() == tab.read_picture()).all()
    values = "() => [...document.querySelectorAll('input, select')].map(({ id, value }) => [id, value])"
    assert other.page.evaluate(values) == tab.page.evaluate(values)
    tab.page.go_back()
    tab.wait_for(full("12/3?label=2&psi=0.5"))
    tab.close()
    other.close()


def test_the_next_images_are_shown_and_chosen(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.show(full("7/0?label=1&z0=2"))
    links = tab.wait_for_thumbnails("following-list", 12, full("7/12?label=1&z0=2"))
    assert tab.largest_difference(full("7/12?label=1&z0=2"), "#following-list li:last-child canvas") <= 1
    links.nth(1).click()
    tab.wait_for(full("7/2?label=1&z0=2"))
    tab.page.check("#as-end")
    tab.wait_for_thumbnails("following-list", 12, full("7/14?label=1&z0=2")).first.click()
    tab.wait_for(full("7/2?label=1&to=7.3&at=0.5&z0=2"))
    tab.page.focus("#picture")
    tab.page.keyboard.press("ArrowLeft")
    tab.wait_for(full("7/1?label=1&to=7.3&at=0.5&z0=2"))
    tab.close()


def test_a_text_is_the_seed_that_the_service_makes_of_it(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.show(full("7/3"))
    # In NFC, the last two characters are one.
    tab.page.fill("#seed", "Ann/Lee e\u0301")
    tab.wait_for(full(f"{make_seed('Ann/Lee é')}/3"))
    tab.page.fill("#to-seed", "Bo")
    tab.wait_for(full(f"{make_seed('Ann/Lee é')}/3?to={make_seed('Bo')}.0&at=0.5"))
    tab.page.fill("#seed", "x" * 257)
    assert "at most 256 characters" in tab.page.locator("#trouble").inner_text()
    tab.close()


def test_a_walk_has_an_end_classes_and_steps(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.show(full("7/0?label=1"))
    tab.page.click("#class-end")
    tab.wait_for(full("7/0?label=1&to=7.0&tolabel=2&at=0.5"))
    tab.page.click("#next")
    tab.wait_for(full("7/1?label=1&to=7.1&tolabel=2&at=0.5"))
    tab.page.fill("#to-seed", "8")
    tab.page.select_option("#tolabel", "0")
    tab.page.locator("#at").fill("0.25")
    tab.wait_for(full("7/1?label=1&to=8.1&tolabel=0&at=0.25"))
    before = tab.read_picture().astype(int)
    tab.page.click("#swap")
    tab.wait_for(full("8/1?label=0&to=7.1&tolabel=1&at=0.75"))
    assert np.abs(tab.read_picture() - before).max() <= 1
    links = tab.wait_for_thumbnails("walk-list", 9, full("7/1?label=1"))
    assert links.nth(6).get_attribute("aria-current") == "true"
    assert tab.largest_difference(full("7/1?label=1"), "#walk-list li:last-child canvas") <= 1
    links.nth(1).click()
    tab.wait_for(full("8/1?label=0&to=7.1&tolabel=1&at=0.125"))
    assert tab.largest_difference(full("8/1?label=0&to=7.1&tolabel=1&at=0.125")) <= 1
    links.last.click()
    tab.wait_for(full("7/1?label=1"))
    assert not tab.page.locator("#walk-list").is_visible()
    tab.close()


def test_from_its_other_end_an_image_has_the_same_class(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    # 7/0 draws the class 1, which is given for the end, too; 8/0 draws the class 2.
    tab.show(full("7/0?to=8.0&tolabel=1&at=0.25"))
    before = tab.read_picture().astype(int)
    tab.page.click("#swap")
    tab.wait_for(full("8/0?label=1&to=7.0&at=0.75"))
    assert np.abs(tab.read_picture() - before).max() <= 1
    # Where both classes are drawn, they stay so.
    tab.show(full("7/0?to=8.0&at=0.25"))
    tab.page.click("#swap")
    tab.wait_for(full("8/0?to=7.0&at=0.75"))
    tab.close()


@pytest.mark.parametrize("path", ["/", "/play"])
def test_a_file_is_verified_in_words_and_pictures(browser: Any, service: str, path: str) -> None:
    tab = Tab(browser, service)
    tab.page.goto(service + path)
    ours = httpx.get(f"{service}/v1/images/tiny/1.0.0/7/0.png?label=1", verify=False).content
    result, pictures = tab.page.locator("#result"), tab.page.locator("#pictures img")
    tab.page.set_input_files("#file", {"name": "ours.png", "mimeType": "image/png", "buffer": ours})
    playwright.expect(result).to_have_text("Yes: identical")
    playwright.expect(tab.page.locator("#marks")).to_have_text(full("7/0?label=1"))
    tab.page.set_input_files("#file", {"name": "changed.png", "mimeType": "image/png", "buffer": _change_a_pixel(ours)})
    playwright.expect(result).to_have_text("Altered")
    playwright.expect(pictures).to_have_count(2)
    tab.close()


DRAG = """([type, bytes]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(bytes)], 'ours.png', { type: 'image/png' }));
    const event = new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true });
    document.getElementById('form').dispatchEvent(event);
}"""


@pytest.mark.parametrize("path", ["/", "/play"])
def test_a_file_is_dropped_anywhere_and_its_answer_is_seen(browser: Any, service: str, path: str) -> None:
    tab, expect = Tab(browser, service, viewport={"width": 1000, "height": 700}), playwright.expect
    tab.page.goto(service + path)
    expect(tab.page.locator("#model option").first).to_be_attached()
    ours = list(httpx.get(f"{service}/v1/images/tiny/1.0.0/7/0.png?label=1", verify=False).content)
    expect(tab.page.locator("#drop")).not_to_be_in_viewport()
    tab.page.evaluate(DRAG, ["dragover", ours])
    expect(tab.page.locator("#drop")).to_be_in_viewport()
    tab.page.evaluate(DRAG, ["dragleave", ours])
    expect(tab.page.locator("#drop")).not_to_be_in_viewport()
    tab.page.evaluate(DRAG, ["drop", ours])
    expect(tab.page.locator("#result")).to_have_text("Yes: identical")
    expect(tab.page.locator("#result")).to_be_in_viewport()
    expect(tab.page.locator("#pictures img")).to_be_in_viewport()
    tab.close()


def _change_a_pixel(file: bytes) -> bytes:
    with Image.open(io.BytesIO(file)) as image:
        marks = PngInfo()
        marks.add_text("ganmint:address", image.info["ganmint:address"])
        image.putpixel((3, 3), (image.getpixel((3, 3)) + 100) % 256)
        changed = io.BytesIO()
        image.save(changed, "PNG", pnginfo=marks)
    return changed.getvalue()


@pytest.mark.parametrize("has_storage", [True, False])
def test_with_a_key_the_page_shows_and_saves_images(
    browser: Any, start_app: Callable[..., str], has_storage: bool
) -> None:
    secret, key = create_key("alice")
    tab = Tab(browser, start_app(api_keys=json.dumps([key.model_dump()])), may_log="401")
    if not has_storage:
        off = "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('off'); } })"
        tab.page.add_init_script(off)
    tab.page.goto(f"{tab.url}/play#{full('7/0?label=1')}")
    tab.page.fill("#key", secret)
    tab.page.press("#key", "Enter")
    tab.wait_for(full("7/0?label=1"))
    tab.wait_for_thumbnails("following-list", 12, full("7/12?label=1"))
    with tab.page.expect_download() as download:
        tab.page.click("#download")
    with Image.open(download.value.path()) as image:
        assert image.info["ganmint:address"] == full("7/0?label=1")
    tab.page.set_input_files("#file", download.value.path())
    tab.page.click("#marks a")
    playwright.expect(tab.page.locator("#pictures img").nth(1)).to_have_attribute("alt", full("7/0?label=1"))
    assert secret not in tab.page.content() + tab.page.url
    tab.page.reload()
    # The browser kept the weights. The permanent link is no link where a key is in use, because it would carry none.
    tab.wait_for(full("7/0?label=1"))
    assert tab.page.locator("#permanent[href]").count() == (0 if has_storage else 1)
    tab.close()


def test_a_model_with_directions_has_their_sliders(
    browser: Any, start_app: Callable[..., str], tiny_artifact: Path
) -> None:
    revise_with_directions(tiny_artifact)
    tab = Tab(browser, start_app())
    page, plain = tab.page, "tiny/1.1.0/7/0?label=1"
    tab.show(f"{plain}&to=8.0&at=0.5&z0=1&dir.tilt=-3&dir.wide-2=0.5")
    assert tab.largest_difference(f"{plain}&to=8.0&at=0.5&z0=1&dir.tilt=-3&dir.wide-2=0.5") <= 1
    tab.show(plain)
    page.locator("#dir-wide-2").fill("-4")
    tab.wait_for(f"{plain}&dir.wide-2=-4")
    assert tab.largest_difference(f"{plain}&dir.wide-2=-4") <= 1
    playwright.expect(page.locator("#dir-wide-2-hint")).to_have_text("more wide-2")
    playwright.expect(page.locator("#dir-tilt-hint")).to_have_text("more tilt; checked to ±1.5")
    assert page.get_attribute("#dir-wide-2", "aria-describedby") == "dir-wide-2-hint"
    # The shade behind a slider from -4 to 4 is as wide as the checked range; without one, there is none.
    shades = page.locator("#directions > div").evaluate_all(
        "all => all.map(one => getComputedStyle(one).backgroundSize)"
    )
    assert shades == ["calc(37.5% - 6px) 24px", "0% 24px"]
    page.press("#dir-wide-2", "Delete")
    tab.wait_for(plain)
    page.locator("#dir-tilt").fill("1.5")
    tab.wait_for(f"{plain}&dir.tilt=1.5")
    page.click("#undo-moves")
    tab.wait_for(plain)
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    tab.show(full("7/0"))
    playwright.expect(page.locator("#moves")).to_be_hidden()
    tab.close()


def test_the_dimensions_that_are_codes_have_their_names(
    browser: Any, start_app: Callable[..., str], tiny_artifact: Path, tmp_path: Path
) -> None:
    config = {"config": {"infogan_codes": 2}}
    training = read_manifest(tiny_artifact).training.model_copy(update=config)
    install_copy(tiny_artifact, tmp_path / "coded", name="coded", training=training)
    tab = Tab(browser, start_app())
    tab.show("coded/1.0.0/7/0?label=0")
    names = tab.page.locator("#dimensions label")
    playwright.expect(names).to_contain_text(["code 1 (z0)", "code 2 (z1)", *(f"z{k}" for k in range(2, 8))])
    tab.page.fill("#z1", "1.5")
    tab.wait_for("coded/1.0.0/7/0?label=0&z1=1.5")
    tab.show(full("7/0?label=0"))
    playwright.expect(names).to_contain_text([f"z{k}" for k in range(8)])
    playwright.expect(names.first).not_to_contain_text("code")
    tab.close()


def test_a_small_copy_shows_the_picture_while_it_is_out_of_view(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page, mini, expect = tab.page, tab.page.locator("#mini"), playwright.expect
    tab.show(full("7/0?label=1"))
    expect(mini).to_be_hidden()
    page.locator("#z7").scroll_into_view_if_needed()
    expect(mini).to_be_in_viewport()
    page.locator("#z7").fill("3")
    tab.wait_for(full("7/0?label=1&z7=3"))
    assert tab.largest_difference(full("7/0?label=1&z7=3"), "#mini canvas") <= 1
    mini.click()
    expect(page.locator("#picture")).to_be_focused()
    expect(page.locator("#picture")).to_be_in_viewport()
    expect(mini).to_be_hidden()
    tab.close()


def test_the_page_says_that_it_mints_where_that_takes_long(browser: Any, service: str) -> None:
    tab = Tab(browser, service, may_log="ERR_FAILED")
    held: list[Any] = []
    tab.page.route("**/generator.safetensors", lambda route: held.append(route))
    with tab.page.expect_request("**/generator.safetensors"):
        tab.page.goto(f"{service}/play#{full('7/0')}")
    playwright.expect(tab.page.locator("#title")).to_have_text("Minting")
    held[0].abort()
    playwright.expect(tab.page.locator("#title")).to_have_text("")
    tab.page.unroute("**/generator.safetensors")
    tab.page.click("#again")
    tab.wait_for(full("7/0"))
    playwright.expect(tab.page.locator("#title")).to_contain_text("Image 0")
    tab.close()


def test_the_keys_of_classes_are_those_that_the_model_has(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.show(full("7/0"))
    assert tab.page.locator("#keys").inner_text().endswith(", 0 to 2 choose a class.")
    tab.close()


def test_files_are_named_after_the_whole_address(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    units = "&".join(f"u0.{unit}=-1.2345_0_0_1_1" for unit in range(6))
    names = {}
    for part in ["7/0?label=1", "7/0?label=1&to=8.0&at=0.5", f"7/0?label=1&{units}", f"7/0?label=1&{units}&u1.0=1"]:
        address = full(part)
        tab.show(address)
        names[address] = tab.page.get_attribute("#download", "download")
        assert tab.page.locator("#curl").inner_text().endswith(f"{address.partition('?')[2]}' -o {names[address]}")
    plain, mixed, *long = names.values()
    assert (plain, mixed) == ("tiny_1.0.0_7_0_label=1.png", "tiny_1.0.0_7_0_label=1_to=8.0_at=0.5.png")
    assert len(set(long)) == 2 and all(len(name) < 140 for name in long)
    tab.close()


def test_the_lines_make_the_image_and_the_walk(browser: Any, service: str, tmp_path: Path) -> None:
    tab = Tab(browser, service)
    tab.show(full("7/0?label=1&psi=0.5&to=8.0&tolabel=2&at=0.25&z0=1"))
    ganmint = f'import ganmint\nganmint.load("tiny/1.0.0").mint_addresses(["{tab.page.inner_text("#permanent")}"])'
    assert tab.page.inner_text("#python") == ganmint
    _, *command = shlex.split(tab.page.inner_text("#command"))
    *command, name = command
    CliRunner().invoke(cli, [*command, str(tmp_path / name)], catch_exceptions=False)
    shown = httpx.get(str(tab.page.get_attribute("#permanent", "href")), verify=False).content
    assert (tmp_path / name).read_bytes() == shown
    _, _, start, end, _, out = shlex.split(tab.page.inner_text("#walk-line"))
    edits = "psi=0.5&z0=1"
    assert (start, end, out) == (full(f"7/0?label=1&{edits}"), full(f"8/0?label=2&{edits}"), "walk.webp")
    frames = plan_walk([Address.parse(start), Address.parse(end)], 5)
    assert str(frames[1]) == tab.page.inner_text("#permanent")
    tab.close()


def test_an_address_that_cannot_be_shown_says_why(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.page.goto(f"{service}/play#{full('7/0?to=8.0&at=1')}")
    assert tab.page.locator("#trouble").inner_text().startswith("at: must be above 0 and below 1")
    tab.show(full("7/0"))
    assert not tab.page.locator("#trouble").is_visible()
    tab.close()


@pytest.mark.parametrize("address", ["none/1.0.0/7/0", "none", "%"])
def test_beside_an_address_that_is_wrong_from_the_start_is_the_first_model(
    browser: Any, service: str, address: str
) -> None:
    tab = Tab(browser, service, may_log="404")
    first = httpx.get(f"{service}/v1/models", verify=False).json()["models"][0]
    key = f"{first['name']}/{first['version']}"
    tab.page.goto(f"{service}/play#{address}")
    tab.wait_for(f"{key}/7/0")
    playwright.expect(tab.page.locator("#trouble")).not_to_be_empty()
    playwright.expect(tab.page.locator("#model")).to_have_value(key)
    tab.page.click("#next")
    tab.wait_for(f"{key}/7/1")
    playwright.expect(tab.page.locator("#trouble")).to_be_hidden()
    assert tab.page.url == f"{service}/play#{key}/7/1"
    tab.close()


def test_beside_an_address_of_a_model_that_is_there_is_its_newest_version(
    browser: Any, start_app: Callable[..., str], tiny_artifact: Path, tmp_path: Path
) -> None:
    install_copy(tiny_artifact, tmp_path / "zeta", name="zeta")
    url = start_app()
    for address, is_wrong in (("zeta/9.9.9/7/0", True), ("zeta", False)):
        tab = Tab(browser, url, may_log="404")
        tab.page.goto(f"{url}/play#{address}")
        tab.wait_for("zeta/1.0.0/7/0")
        assert tab.page.locator("#trouble").is_visible() is is_wrong
        tab.close()


def test_while_no_image_can_be_had_the_controls_are_disabled_until_another_try(browser: Any, service: str) -> None:
    tab, expect = Tab(browser, service, may_log="ERR_FAILED"), playwright.expect
    page, tools, trouble = tab.page, tab.page.locator("#tools"), tab.page.locator("#trouble")
    page.route("**/v1/models", lambda route: route.abort())
    page.goto(f"{service}/play#{full('7/0')}")
    expect(trouble).to_have_text("The service could not be reached.")
    expect(tools).to_have_attribute("inert", "")
    page.unroute("**/v1/models")
    page.route("**/generator.safetensors", lambda route: route.abort())
    page.click("#again")
    expect(page.locator("#seed")).to_have_value("7")
    expect(trouble).to_have_text("The service could not be reached.")
    expect(tools).to_have_attribute("inert", "")
    page.unroute("**/generator.safetensors")
    page.click("#again")
    tab.wait_for(full("7/0"))
    expect(trouble).to_be_hidden()
    expect(tools).not_to_have_attribute("inert", "")
    expect(page.locator("#picture")).to_be_focused()
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    tab.close()


def test_a_field_that_is_empty_says_what_to_type(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.show(full("7/0"))
    for field, words in (("#seed", "type a number, or any text"), ("#index", "a whole number")):
        tab.page.fill(field, "")
        playwright.expect(tab.page.locator(field)).to_have_attribute("aria-invalid", "true")
        playwright.expect(tab.page.locator(f"{field}:placeholder-shown")).to_have_attribute("placeholder", words)
    tab.close()


def test_a_value_just_below_zero_is_zero(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    for value, words in (("-0.004", "0.00"), ("-0.006", "-0.01"), ("-10.004", "-10.00")):
        tab.show(full(f"7/0?z0={value}"))
        playwright.expect(tab.page.locator("output[for=z0]")).to_have_text(words)
    tab.close()


def test_fields_in_focus_follow_the_url(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    start = full("7/0?to=8.0&at=0.5&z0=1")
    for field, typed, reached in [
        ("#seed", "Bob", f"{make_seed('Bob')}/0?to=8.0&at=0.5&z0=1"),
        ("#to-seed", "Bob", f"7/0?to={make_seed('Bob')}.0&at=0.5&z0=1"),
        ("#z0", "2", "7/0?to=8.0&at=0.5&z0=2"),
    ]:
        tab.show(start)
        before = tab.page.input_value(field)
        tab.page.locator(field).fill(typed)
        tab.wait_for(full(reached))
        playwright.expect(tab.page.locator(field)).to_have_value(typed)
        tab.page.go_back()
        tab.wait_for(start)
        playwright.expect(tab.page.locator(field)).to_be_focused()
        playwright.expect(tab.page.locator(field)).to_have_value(before)
    tab.page.fill("#index", "none")
    tab.show(full("7/3"))
    playwright.expect(tab.page.locator("#index")).to_have_value("3")
    playwright.expect(tab.page.locator("#index")).not_to_have_attribute("aria-invalid", "true")
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Any, service: str, scheme: str) -> None:
    tab = Tab(browser, service, color_scheme=scheme, viewport={"width": 390, "height": 844})
    tab.show(full(ADDRESSES[11]))
    tab.page.click("#edits summary")
    tab.page.check("#in-rectangle", force=True)
    tab.page.wait_for_selector("#units:not(.numbers)")
    tab.page.click("#units button:nth-child(3)")
    violations = axe.Axe().run(tab.page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
    tab.close()


def test_the_lab_plays_a_recording_and_trains(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page, expect = tab.page, playwright.expect
    page.goto(f"{service}/play/lab")
    page.wait_for_selector('body[data-ready="yes"]')
    before = page.locator("#kimg").inner_text()
    page.focus("#tick")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tick")).to_have_value("1")
    assert page.locator("#kimg").inner_text() != before
    violations = axe.Axe().run(page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
    drawn = []
    page.get_by_role("button", name="Triangles").click()
    expect(page.locator("#values")).to_contain_text("recall")
    for layer in ("none", "manifold", "points", "judge", "real"):
        if layer != "none":
            page.locator(f"#show-{layer}").click()
        drawn.append(page.evaluate("document.getElementById('plot').toDataURL()"))
    assert len(set(drawn)) == 5
    page.click("text=Train one here")
    page.click("#step")
    # The losses are there once a step was taken.
    expect(page.locator("#values")).to_contain_text("loss", ignore_case=True)
    tab.close()


def test_curves_of_the_labs_own_training_are_of_its_present_data(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page, expect = tab.page, playwright.expect
    count, charts = page.locator("#count"), page.locator("#charts figure")
    page.goto(f"{service}/play/lab")
    page.wait_for_selector('body[data-ready="yes"]')
    assert charts.count()
    page.click("text=Train one here")
    expect(charts).to_have_count(0)  # those of the recording
    expect(count).to_have_text("After 0 steps of 64 samples")
    for steps in (1, 2):
        page.click("#step")
        expect(count).to_have_text(f"After {steps} steps of 64 samples")
    expect(charts).to_have_count(2)
    # Other data keep the networks, and what runs.
    page.select_option("#data", "two")
    expect(charts).to_have_count(0)
    expect(count).to_have_text("After 2 steps of 64 samples")
    page.click("#run")
    expect(charts).to_have_count(1)
    page.select_option("#data", "three")
    expect(page.locator("#run")).to_have_text("Stop")
    page.click("#restart")
    expect(charts).to_have_count(0)
    expect(count).to_have_text("After 0 steps of 64 samples")
    tab.close()


def test_looking_at_the_labs_own_training_leaves_it_as_it_is(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page, count = tab.page, tab.page.locator("#count")
    read = "[document.getElementById('values').textContent, document.getElementById('plot').toDataURL()]"

    def take_steps(are_looked_at: bool) -> Any:
        page.click("#restart")
        for steps in (1, 2):
            page.click("#step")
            playwright.expect(count).to_have_text(f"After {steps} steps of 64 samples")
            before = page.evaluate(read)
            if are_looked_at:
                page.uncheck("#show-points")
                assert page.evaluate(read)[1] != before[1]
                page.check("#show-points")
                page.emulate_media(color_scheme="dark")
                page.wait_for_function(f"drawn => {read}[1] !== drawn", arg=before[1])
                page.emulate_media(color_scheme="light")
                page.wait_for_function(f"drawn => {read}[1] === drawn", arg=before[1])
                assert page.evaluate(read) == before
        return page.evaluate(read)

    page.goto(f"{service}/play/lab#live")
    page.wait_for_selector('body[data-ready="yes"]')
    assert "loss of G" in take_steps(False)[0]
    assert take_steps(True) == take_steps(False)
    tab.close()


def test_the_labs_own_training_is_kept_while_a_recording_is_looked_at(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page = tab.page
    read = "['values', 'charts', 'count'].map((id) => document.getElementById(id).innerHTML)"
    page.goto(f"{service}/play/lab#live")
    page.wait_for_selector('body[data-ready="yes"]')
    for _ in range(3):
        page.click("#step")
    playwright.expect(page.locator("#count")).to_have_text("After 3 steps of 64 samples")
    before = page.evaluate(read)
    page.get_by_role("button", name="Triangles").click()
    playwright.expect(page.locator("#values")).to_contain_text("recall")
    page.get_by_role("button", name="Train one here").click()
    playwright.expect(page.locator("#values")).to_contain_text("loss of G")
    assert page.evaluate(read) == before
    page.click("#step")
    playwright.expect(page.locator("#count")).to_have_text("After 4 steps of 64 samples")
    tab.close()


def test_of_two_recordings_the_one_that_was_chosen_last_is_shown(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    page, title = tab.page, tab.page.locator("#title")
    page.goto(f"{service}/play/lab")
    page.wait_for_selector('body[data-ready="yes"]')
    held: list[Any] = []
    page.route("**/toy1d.json", lambda route: held.append(route), times=1)
    with page.expect_request("**/toy1d.json"):
        page.click("text=One dimension")
    page.click("text=Triangles")
    playwright.expect(page.locator("#values")).to_contain_text("recall")
    shown = title.inner_text()
    with page.expect_event("requestfinished"):
        held[0].continue_()
    # Once this is read, the one before was.
    page.evaluate("fetch('lab/toy1d.json').then(answer => answer.json())")
    assert title.inner_text() == shown and "#triangles/" in page.url
    page.click("text=One dimension")
    playwright.expect(page.locator("#values")).to_contain_text("mean, of 4")
    tab.close()


def test_the_axes_of_the_labs_charts_end_at_the_whole(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    captions = tab.page.locator("#charts figcaption span")
    for key, bumps, share in (("toy25", 25, 0.866), ("toy25-classic", 8, 0.822)):
        tab.page.goto(f"{service}/play/lab#{key}")
        tab.page.reload()
        tab.page.wait_for_selector('body[data-ready="yes"]')
        playwright.expect(captions.nth(0)).to_have_text("bumps kept, of 25 (0 to 25)")
        playwright.expect(captions.nth(1)).to_have_text("points on a bump (0 to 100 %)")
        curves = tab.page.locator("#charts polyline").evaluate_all(
            "lines => lines.map(({ points }) => Math.min(...[...points].map(({ y }) => y)))"
        )
        assert curves[:2] == pytest.approx([100 - 4 * bumps, 100 - 100 * share], abs=0.1)
    tab.close()


def test_the_labs_line_of_numbers_has_numbers(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.page.add_init_script(
        "CanvasRenderingContext2D.prototype.fillText = text => { (window.written ??= new Set()).add(text); }"
    )
    tab.page.goto(f"{service}/play/lab#live")
    tab.page.wait_for_selector('body[data-ready="yes"]')
    assert tab.page.evaluate("[...window.written]") == [-2, 0, 2, 4, 6, 8, 10]
    tab.close()


def test_on_a_phone_the_plot_of_the_lab_stays_in_view(browser: Any, service: str) -> None:
    tab = Tab(browser, service, viewport={"width": 390, "height": 844})
    tab.page.goto(f"{service}/play/lab")
    tab.page.wait_for_selector('body[data-ready="yes"]')
    tab.page.locator("#hint").scroll_into_view_if_needed()
    playwright.expect(tab.page.locator("#plot")).to_be_in_viewport(ratio=0.9)
    tab.page.get_by_role("button", name="Train one here").click()
    tab.page.click("#step")
    tab.close()
