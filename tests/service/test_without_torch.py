"""Serving ONNX models needs neither torch nor what traces need: they are not imported and not missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from models import store
from tests.waiting import TIMEOUT_S

# The modules that need torch; all else imports it only inside functions.
TORCH_MODULES = (
    "models.batch_size",
    "models.dcgan",
    "models.networks",
    "models.runtime.cuda_graph",
    "models.runtime.torchscript",
)
IMPORT_ALL = f"""
import importlib, pkgutil, sys
import models, service
for package in (models, service):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name not in {TORCH_MODULES}:
            importlib.import_module(module.name)
            assert "torch" not in sys.modules, module.name
"""
# None makes every import fail, as where it is not installed.
SERVE = """
import asyncio, sys
sys.modules |= dict.fromkeys(["torch", "opentelemetry.exporter", "opentelemetry.instrumentation.asgi"])
from service.app import create_app
from service.settings import Settings
from tests.service.app_client import connect_when_ready
async def main():
    async with connect_when_ready(Settings()) as client:
        for accept in ("application/json", "image/png", "application/zip", "application/x-npz"):
            response = await client.post("/generate", json={"model": "tiny", "n": 5}, headers={"Accept": accept})
            assert response.status_code == 200, response.text
        assert (await client.get("/v1/images/tiny/1.0.0/7/0.png")).status_code == 200
asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("torch.") or name == "service.tracing"]
"""


def run_python(code: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert process.returncode == 0, process.stdout + process.stderr


def test_no_module_of_serving_imports_torch() -> None:
    run_python(IMPORT_ALL)


def test_onnx_models_are_served_where_torch_and_the_packages_for_traces_are_not_installed(
    store_home: Path, tiny_artifact: Path
) -> None:
    store.install(tiny_artifact)
    run_python(SERVE)
