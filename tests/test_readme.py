"""Every block of the README is run, in its order, in a copy of the repository.

Only three things differ from what a newcomer types: the port, the model store's place, and that
`make test` is asked what it would do instead of running these tests inside themselves.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from models.images import read_address
from tests.live.conftest import environment, free_port

ROOT = Path(__file__).parent.parent
COPIED = ("ganmint", "models", "training", "service", "benchmarks", "tests/data")


def blocks(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(sh|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy with the environment that these tests run in as its .venv."""
    copy = tmp_path / "ganmint"
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Makefile", "README.md", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / file, copy / file)
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_works(checkout: Path, tmp_path: Path) -> None:
    port = free_port()
    env = {**environment(tmp_path / "home"), "PORT": str(port)}
    if not (Path(sys.prefix) / ".ready").exists():
        pytest.skip("the environment was not made by make; the README's commands would make another")
    (Path(sys.prefix) / ".ready").touch()
    log = (tmp_path / "serve.log").open("wb")
    server: subprocess.Popen[bytes] | None = None
    try:
        for language, block in blocks((checkout / "README.md").read_text()):
            if "make serve" in block:
                server = subprocess.Popen(
                    ["bash", "-c", block], cwd=checkout, env=env, stdout=log, stderr=log, start_new_session=True
                )
                wait_until_ready(port, server, tmp_path / "serve.log")
                continue
            script = block.replace("make test", "make -n test").replace("localhost:3000", f"localhost:{port}")
            command = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
            done = subprocess.run(
                [*command, script], cwd=checkout, env=env, capture_output=True, text=True, timeout=600
            )
            assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
            if language == "python":
                assert "torch.Size([64, 28, 28, 1])" in done.stdout
    finally:
        if server:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
        log.close()
    sizes = {"grid": (224, 224), "three": (28, 28), "six": (192, 128), "mine": (224, 224)}
    for picture, size in sizes.items():
        with Image.open(checkout / f"{picture}.png") as opened:
            assert opened.size == size
    assert read_address((checkout / "three.png").read_bytes()) == "digits/3.0.0/7/0?label=3"
    assert len(list((checkout / "pictures").glob("*.png"))) == 10
    printed = re.search(r"^  (curl .*)$", (tmp_path / "serve.log").read_text(), re.MULTILINE)
    assert printed, "make serve prints a curl line"


def wait_until_ready(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(log.read_text())
