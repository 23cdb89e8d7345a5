"""A Ray whose tasks run in this process; the real one takes up to a minute to start, and does so in test_engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.export import api
from service.export.ray_engine import RayEngine


class OneMachine:
    """In the place of the package ray: a cluster whose tasks run in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def remote(self, **_options: object) -> Callable[[Callable[..., object]], SimpleNamespace]:
        def wrap(function: Callable[..., object]) -> SimpleNamespace:
            def run(*arguments: object) -> object:
                with pytest.MonkeyPatch.context() as patch:
                    patch.chdir(self._folder)
                    return function(*arguments)

            return SimpleNamespace(remote=run)

        return wrap

    def put(self, value: object) -> object:
        return value

    get = put

    def wait(self, references: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return references, []


def run_ray_tasks_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `--engine ray` run its tasks in this process, in this folder, as if it were another machine's."""

    def find_engine(name: str, workers: int) -> RayEngine:
        assert name == "ray"
        return engine

    engine = RayEngine.__new__(RayEngine)
    monkeypatch.setattr(engine, "_ray", OneMachine(folder), raising=False)
    monkeypatch.setattr(api, "find_engine", find_engine)
