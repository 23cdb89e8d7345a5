"""A page in a browser, and what it shows beside what the service mints."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[dev]'")

READ_CANVAS = """canvas => {
    const { width, height } = canvas, data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    return [height, width, ...data];
}"""


class Tab:
    """A page that must ask only its own service, and log no error but one that contains `may_log`.

    Attributes:
        page: Playwright's page.
        requests: the paths that were asked for.
    """

    def __init__(self, browser: Any, url: str, may_log: str | None = None, **options: Any) -> None:
        self.url = url
        self._may_log = may_log
        self.requests: list[str] = []
        self._faults: list[str] = []
        self.page = browser.new_context(**options).new_page()
        self.page.on("request", self._note_request)
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self._faults.append(str(error)))

    def _note_message(self, message: Any) -> None:
        # Chromium itself logs every response that is an error.
        if message.type == "error" and not (self._may_log and self._may_log in message.text):
            self._faults.append(message.text)

    def _note_request(self, request: Any) -> None:
        if request.url.startswith(self.url):
            self.requests.append(request.url.removeprefix(self.url))
        elif not request.url.startswith(("data:", "blob:")):
            self._faults.append(f"request to {request.url}")

    def show(self, address: str) -> None:
        """Show an address as a link does."""
        if self.page.url.startswith(self.url):
            self.page.evaluate("hash => { location.hash = hash }", address)
        else:
            self.page.goto(f"{self.url}/play#{address}")
        self.wait_for(address)

    def wait_for(self, address: str) -> None:
        """Wait until the picture is that of an address."""
        self.page.wait_for_selector(f'body[data-ready="{address}"]', state="attached", timeout=60_000)

    def read_picture(self, canvas: str = "#picture") -> NDArray[np.uint8]:
        """Return the pixels of a canvas: uint8 (H, W, 3)."""
        height, width, *values = self.page.locator(canvas).evaluate(READ_CANVAS)
        pixels = np.array(values, np.uint8).reshape(height, width, 4)
        assert (pixels[..., 3] == 255).all()
        return pixels[..., :3]

    def largest_difference(self, address: str, canvas: str = "#picture") -> int:
        """Return by how much a canvas differs from what the service mints."""
        return int(np.abs(self.read_picture(canvas).astype(int) - _fetch(self.url, address)).max())

    def wait_for_thumbnails(self, name: str, count: int, last: str) -> Any:
        """Wait until a list of small pictures is whole and ends with an address; returns their links."""
        # The list follows when the page is still; until then it is that of the image before.
        self.page.wait_for_selector(f'#{name} li:last-child a[href="#{last}"]', timeout=60_000)
        links = self.page.locator(f"#{name} a:not(.waiting)")
        playwright.expect(links).to_have_count(count, timeout=60_000)
        return links

    def close(self) -> None:
        """End, and fail where the page did what it must not."""
        self.page.context.close()
        assert not self._faults


def _fetch(url: str, address: str) -> NDArray[np.uint8]:
    path, _, query = address.partition("?")
    response = httpx.get(f"{url}/v1/images/{path}.png?{query}", verify=False)
    with Image.open(io.BytesIO(response.raise_for_status().content)) as image:
        return np.asarray(image.convert("RGB"))


def full(part: str) -> str:
    """Return the address of the tiny model with this seed, index and query."""
    return f"tiny/1.0.0/{part}"
