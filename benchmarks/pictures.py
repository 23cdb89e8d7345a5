"""Makes the pictures of docs/playing.md: python -m benchmarks.pictures

Sheets come from the bundled models, pictures of the pages from `ganmint serve` in Debian's Chromium. Those that
commands in the docs make are not made here.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import ganmint
from benchmarks.servers import run_service
from models import store
from models.images import grid, to_picture

ASSETS = Path(__file__).parent.parent / "docs/assets"
CELL = 64
COLUMNS = 9
# Dimensions of the latent of digits along which the image 7/0 changes most visibly.
SWEPT = (32, 30, 1)
# Images of digits-info whose two codes are swept.
CODED = ("7/3?label=3", "7/5?label=5")


def main() -> None:
    """Make them all."""
    chromium = shutil.which("chromium") or sys.exit("needs Chromium: apt-get install chromium")
    make_sheets()
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        os.environ["BENTOML_HOME"] = home
        for folder in store.list_bundled():
            store.install(folder)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with run_service() as (port, _):
            take(browser, f"http://127.0.0.1:{port}/play#{_name('faces')}/7/3", erase_a_mouth, "units.webp")
            take(browser, f"http://127.0.0.1:{port}/play/lab", show_a_recording, "lab.webp")
            take(browser, f"http://127.0.0.1:{port}/play/lab", show_triangles, "triangles.webp")
        browser.close()


def make_sheets() -> None:
    """Make the sheets of images."""
    digits, faces = _name("digits"), _name("faces")
    ways = [f"{digits}/{ends}" for ends in ("7/0?label=3&to=7.4&tolabel=8", "9/1?label=3&to=9.2&tolabel=5")]
    ways += [f"{faces}/{ends}" for ends in ("7/4?to=7.9", "7/8?to=7.7")]
    _save([_mint([f"{way}&at={k / 10:g}" for k in range(1, COLUMNS + 1)]) for way in ways], "ways.webp")
    values = [f"{value:g}" for value in np.linspace(-4, 4, COLUMNS)]
    _save([_mint([f"{digits}/7/0?label=3&z{k}={value}" for value in values]) for k in SWEPT], "sweeps.webp")
    coded = _name("digits-info")
    _save([_mint([f"{coded}/{place}&z{k}={v}" for v in values]) for k in range(2) for place in CODED], "codes.webp")


def _name(model: str) -> str:
    found = ganmint.load(model)
    return f"{found.name}/{found.version}"


def _mint(addresses: Sequence[str]) -> NDArray[np.uint8]:
    """Return a row of pictures as RGB: uint8 (CELL, COLUMNS * CELL, 3)."""
    images = ganmint.load(addresses[0].partition("/")[0]).mint_addresses(addresses).images
    cells = [to_picture(image).convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC) for image in images]
    return grid(np.stack([np.asarray(cell) for cell in cells]), COLUMNS)


def _save(rows: Sequence[NDArray[np.uint8]], name: str) -> None:
    to_picture(np.concatenate(rows)).save(ASSETS / name, quality=85, method=6)


def take(browser: Browser, url: str, prepare: Callable[[Page], None], name: str) -> None:
    """Save what a page shows once it is prepared."""
    page = browser.new_page(viewport={"width": 1200, "height": 760}, color_scheme="light")
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    prepare(page)
    with Image.open(BytesIO(page.screenshot())) as picture:
        picture.save(ASSETS / name, quality=80, method=6)
    page.close()


def erase_a_mouth(page: Page) -> None:
    """Draw a rectangle around the mouth, and erase the strongest units there."""
    page.click("#edits summary")
    page.wait_for_selector("#units:not(.numbers)")
    page.wait_for_selector("#sources li:last-child a:not(.waiting)")
    box = page.locator("#picture").bounding_box() or sys.exit("the page shows no picture")
    side = box["width"] / 16
    page.mouse.move(box["x"] + 4.5 * side, box["y"] + 9.5 * side)
    page.mouse.down()
    page.mouse.move(box["x"] + 11.5 * side, box["y"] + 13.5 * side)
    page.mouse.up()
    page.click("#strongest")
    page.click("#erase")
    page.wait_for_selector("#units .edited")
    page.mouse.move(0, 0)
    page.locator("#edits").evaluate("panel => scrollTo(0, panel.getBoundingClientRect().top + scrollY - 12)")
    page.wait_for_timeout(1000)


def show_a_recording(page: Page) -> None:
    """Go to a tick in the first half, where the points are on their way."""
    page.focus("#tick")
    page.keyboard.press("Home")
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    page.locator("#tick").blur()


def show_triangles(page: Page) -> None:
    """Go to a tick in the middle, where some pictures are triangles and others nearly."""
    page.get_by_text("Triangles", exact=True).click()
    page.get_by_text("triangles, relativistic loss").wait_for()
    page.get_by_text("the nearest triangle, dashed").click()
    page.focus("#tick")
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.locator("#tick").blur()
    page.locator("#tick").evaluate("() => scrollTo(0, 60)")


if __name__ == "__main__":
    main()
