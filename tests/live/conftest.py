"""Stores and servers that several tests use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models import store
from tests.live.server import Server, install, run_server


@pytest.fixture
def home(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A store with the tiny model."""
    install(tmp_path / "home", tiny_artifact)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def digits_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the bundled models, for all tests that do not disturb it."""
    folder = tmp_path_factory.mktemp("digits-server")
    install(folder / "home", *store.list_bundled())
    with run_server(folder / "home", folder / "log") as server:
        yield server
