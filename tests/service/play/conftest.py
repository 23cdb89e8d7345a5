"""What the tests of the page in a real browser share: a service, and Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from models import store
from service.app import create_app
from service.settings import Settings
from tests.waiting import wait_until


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
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[dev]'")
    # Only for one module: it keeps an event loop running in this thread.
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
