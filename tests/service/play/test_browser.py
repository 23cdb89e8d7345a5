"""The page in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from PIL import Image

from models import store
from service.app import create_app
from service.settings import Settings
from tests.service.play.node import STATIC
from tests.waiting import wait_until

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core: pip install '.[dev]'")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")

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
]
READ_CANVAS = """canvas => {
    const { width, height } = canvas, data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    return [height, width, ...data];
}"""


@pytest.fixture(scope="module")
def start_app(tmp_path_factory: pytest.TempPathFactory, tiny_artifact: Path) -> Iterator[Callable[..., str]]:
    """Starts the application with the tiny model and these settings; returns its URL. All stop with the module."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(**settings: Any) -> str:
        app = create_app(Settings(device="cpu", **settings))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
        thread = threading.Thread(target=server.run)
        servers.append((server, thread))
        thread.start()
        wait_until(lambda: server.started, "the server listens")
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        with httpx.Client(verify=False) as client:
            wait_until(lambda: client.get(f"{url}/readyz").status_code == 200, "the server is ready")
        return url

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("browser-store")))
        patch.setenv("BENTOML_DO_NOT_TRACK", "true")
        store.install(tiny_artifact)
        yield start
        for server, thread in servers:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def service(start_app: Callable[..., str]) -> str:
    return start_app()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Only for this module: it keeps an event loop running in this thread.
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


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

    def read_picture(self) -> NDArray[np.uint8]:
        """Return the pixels of the canvas: uint8 (H, W, 3)."""
        height, width, *values = self.page.locator("#picture").evaluate(READ_CANVAS)
        pixels = np.array(values, np.uint8).reshape(height, width, 4)
        assert (pixels[..., 3] == 255).all()
        return pixels[..., :3]

    def close(self) -> None:
        """End, and fail where the page did what it must not."""
        self.page.context.close()
        assert not self._faults


def _fetch(url: str, address: str) -> NDArray[np.uint8]:
    path, _, query = address.partition("?")
    response = httpx.get(f"{url}/v1/images/{path}.png?{query}", verify=False)
    with Image.open(io.BytesIO(response.raise_for_status().content)) as image:
        return np.asarray(image.convert("RGB"))


def _largest_difference(tab: Tab, address: str) -> int:
    return int(np.abs(tab.read_picture().astype(int) - _fetch(tab.url, address)).max())


def _full(part: str) -> str:
    return f"tiny/1.0.0/{part}"


def test_the_picture_is_the_services_for_every_kind_of_address(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    for address in map(_full, ADDRESSES):
        tab.show(address)
        assert _largest_difference(tab, address) <= 1, address
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    assert "minted in this browser" in tab.page.locator("#where").inner_text()
    tab.close()


def test_without_webassembly_the_picture_is_the_same(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    script = f"delete globalThis.WebAssembly;\n{(STATIC / 'worker.mjs').read_text()}"
    tab.page.route("**/worker.mjs", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    for address in map(_full, ADDRESSES[7:9]):
        tab.show(address)
        assert _largest_difference(tab, address) <= 1, address
    assert not any(path.startswith("/v1/images") for path in tab.requests)
    tab.close()


def test_a_service_that_keeps_its_weights_makes_the_picture(browser: Any, start_app: Callable[..., str]) -> None:
    tab = Tab(browser, start_app(share_weights=False), may_log="403")
    address = _full(ADDRESSES[4])
    tab.show(address)
    assert _largest_difference(tab, address) == 0
    assert "minted by the service" in tab.page.locator("#where").inner_text()
    assert "does not share the weights" in tab.page.locator("#note").inner_text()
    tab.close()


def test_a_link_restores_all_of_the_page(browser: Any, service: str) -> None:
    tab, other = Tab(browser, service), Tab(browser, service)
    tab.show(_full("7/0"))
    tab.page.fill("#seed", "12")
    tab.page.fill("#index", "3")
    tab.page.select_option("#label", "2")
    tab.page.locator("#psi").fill("0.5")
    tab.page.locator("#z3").fill("1.25")
    address = _full("12/3?label=2&psi=0.5&z3=1.25")
    tab.wait_for(address)
    tab.page.click("#share")
    assert tab.page.url == f"{service}/play#{address}"
    other.page.goto(tab.page.url)
    other.wait_for(address)
    assert (other.read_picture() == tab.read_picture()).all()
    values = "() => [...document.querySelectorAll('input, select')].map(({ id, value }) => [id, value])"
    assert other.page.evaluate(values) == tab.page.evaluate(values)
    tab.page.go_back()
    tab.wait_for(_full("12/3?label=2&psi=0.5"))
    tab.close()
    other.close()


def test_an_address_that_cannot_be_shown_says_why(browser: Any, service: str) -> None:
    tab = Tab(browser, service)
    tab.page.goto(f"{service}/play#{_full('7/0?to=8.0&at=1')}")
    assert tab.page.locator("#trouble").inner_text().startswith("at: must be above 0 and below 1")
    tab.show(_full("7/0"))
    assert not tab.page.locator("#trouble").is_visible()
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Any, service: str, scheme: str) -> None:
    tab = Tab(browser, service, color_scheme=scheme, viewport={"width": 390, "height": 844})
    tab.show(_full(ADDRESSES[7]))
    violations = axe.Axe().run(tab.page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
    tab.close()
