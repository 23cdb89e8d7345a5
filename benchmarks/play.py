"""Measures how long the page `/play` takes from a slider's input event to the picture on its canvas.

Run: python -m benchmarks.play. Starts `ganmint serve` with the bundled models, and Debian's Chromium without a GPU. It
moves each slider through values that the page has not shown before. A time is from the event to the canvas with its
new pixels, by the page's own clock. Sliders of units run the levels from theirs upwards; those below are kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from typing import Any

from playwright.sync_api import Page, Route, sync_playwright

from benchmarks.servers import get_cpu_name, run_service
from models import store

# Moves a slider over its range; the page says in `data-ready` what its canvas shows. Returns milliseconds.
MOVE = """async ([id, rounds]) => {
    const slider = document.getElementById(id), least = Number(slider.min), range = Number(slider.max) - least;
    const times = [];
    for (let k = 0; k < rounds; k++) {
        slider.value = least + range * (k + 0.5) / rounds;
        const drawn = new Promise((done) => new MutationObserver((_, observer) => {
            observer.disconnect();
            done(performance.now());
        }).observe(document.body, { attributeFilter: ['data-ready'] }));
        const before = performance.now();
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        times.push(await drawn - before);
        await new Promise((done) => setTimeout(done, 20));
    }
    return times;
}"""


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="values of each slider (60)")
    parser.add_argument("--without-wasm", action="store_true", help="let JavaScript do what the kernel does")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or sys.exit("needs Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        os.environ["BENTOML_HOME"] = home
        models = [store.install(folder) for folder in store.list_bundled()]
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        load = os.getloadavg()[0]
        with run_service() as (port, _):
            rows = []
            for found in models:
                page = browser.new_page()
                if arguments.without_wasm:
                    page.route("**/kernel.wasm", _refuse)
                rows += _measure(page, port, f"{found.name}/{found.version}", arguments.rounds)
                page.close()
        by = "JavaScript" if arguments.without_wasm else "the kernel"
        print(f"{get_cpu_name()}, {os.cpu_count()} cores, load {load:.1f} to {os.getloadavg()[0]:.1f}; ", end="")
        print(f"Chromium {browser.version} without a GPU, {by}; {arguments.rounds} values of each slider, ms\n")
        browser.close()
    print("| model | slider | median | 95th percentile |\n| --- | --- | ---: | ---: |")
    print("\n".join(rows))


def _refuse(route: Route) -> None:
    route.fulfill(status=200, body="")


def _measure(page: Page, port: int, model: str, rounds: int) -> list[str]:
    page.goto(f"http://127.0.0.1:{port}/play#{model}/7/0")
    # The row of images that follow is the last that a page makes by itself.
    page.wait_for_selector("#following-list li:last-child a:not(.waiting)")
    rows = [_measure_slider(page, model, "truncation", "psi", rounds)]
    rows.append(_measure_slider(page, model, "a dimension of the latent", "z0", rounds))
    page.click("#edits summary")
    for level in page.locator("#levels label").all():
        level.click()
        page.wait_for_selector("#units:not(.numbers)")
        page.click("#units button:first-child")
        title = f"a unit of level {' of '.join(level.inner_text().split())}"
        rows.append(_measure_slider(page, model, title, "value", rounds))
        page.click("#put-back")
        page.wait_for_selector("#chips", state="hidden")
    return rows


def _measure_slider(page: Page, model: str, title: str, slider: str, rounds: int) -> str:
    page.wait_for_timeout(1000)
    times: Any = page.evaluate(MOVE, [slider, rounds])
    slow = statistics.quantiles(times, n=20)[-1]
    return f"| {model} | {title} | {statistics.median(times):.1f} | {slow:.1f} |"


if __name__ == "__main__":
    main()
