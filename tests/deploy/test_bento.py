"""The content of the bento and of its image. deploy/smoke-container.sh builds and runs the image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import ganmint
from models import store
from tests.waiting import TIMEOUT_S

REPOSITORY = Path(ganmint.__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """deploy/ as `make bento` leaves it, with an empty wheel: only the container would install it."""
    folder = tmp_path / "deploy"
    (folder / "wheels").mkdir(parents=True)
    for name in ("bento.py", "bentofile.yaml"):
        shutil.copy(REPOSITORY / "deploy" / name, folder)
    shutil.copy(REPOSITORY / "constraints.txt", folder)
    (folder / "wheels" / "ganmint-0.1.0-py3-none-any.whl").touch()
    return folder


def build(context: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = [part for argument in arguments for part in ("--arg", argument)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    return subprocess.run(
        [sys.executable, "-m", "bentoml", "build", context.name, "--output", "tag", *options],
        cwd=context.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def read_bento(home: Path) -> tuple[dict[str, Any], str]:
    """Read the newest bento's description and its Dockerfile."""
    (folder,) = (home / "bentos" / "ganmint").glob("*/")
    return yaml.safe_load((folder / "bento.yaml").read_text()), (folder / "env" / "docker" / "Dockerfile").read_text()


def test_a_bento_has_the_newest_models_and_no_build_tools(context: Path, store_home: Path, tiny_artifact: Path) -> None:
    store.install(tiny_artifact)

    process = build(context, store_home, "variant=cpu")
    assert process.returncode == 0, process.stderr
    bento, dockerfile = read_bento(store_home)
    assert [model["tag"] for model in bento["services"][0]["models"]] == ["tiny:1.0.0"]
    assert bento["image"]["python_version"] == "3.11"
    assert "\nFROM python:3.11-slim AS" in dockerfile
    assert not re.search(r"apt-get|build-essential|\bgit\b", dockerfile)
    assert re.search(r"\nRUN command -v uv >/dev/null \|\| pip install --no-cache-dir uv==\d", dockerfile)
    assert "ENV UV_CONSTRAINT=" in dockerfile
    assert "\nUSER bentoml\n" in dockerfile
    assert str(Path.home()) not in dockerfile.replace("/root/.cache", "")


@pytest.mark.parametrize(
    ("arguments", "extras", "backend"),
    [
        (["variant=cpu"], "image", "cpu"),
        # Models of schema 1 need torch.
        (["variant=cpu", "extras=image,torch"], "image,torch", "cpu"),
        (["variant=cuda"], "image,torch", None),
        (["variant=cuda", "extras="], "torch", None),
    ],
)
def test_only_the_variant_for_gpus_brings_torch_unasked(
    context: Path, store_home: Path, tiny_artifact: Path, arguments: list[str], extras: str, backend: str | None
) -> None:
    store.install(tiny_artifact)

    process = build(context, store_home, *arguments)
    assert process.returncode == 0, process.stderr
    _, dockerfile = read_bento(store_home)
    (requirements,) = (store_home / "bentos" / "ganmint").glob("*/env/python/requirements.txt")
    assert f"ganmint[{extras}]" in requirements.read_text()
    assert ("torch_shm_manager" in dockerfile) == ("torch" in extras)
    assert ("\nARG UV_TORCH_BACKEND=cpu\n" in dockerfile) == (backend == "cpu")
    assert ("\nARG NVIDIA_DRIVER_CAPABILITIES=compute,utility\n" in dockerfile) == (backend is None)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("variant=tpu", "'cpu' or 'cuda'"),
        ("varient=cuda", "varient Extra inputs are not permitted"),
        ("models=nosuch", "there is no model 'nosuch'; there are: tiny"),
    ],
)
def test_a_wrong_argument_is_named(
    context: Path, store_home: Path, tiny_artifact: Path, argument: str, message: str
) -> None:
    store.install(tiny_artifact)

    process = build(context, store_home, argument)
    assert process.returncode != 0
    assert message in re.sub(r"\s+", " ", process.stdout + process.stderr)


def test_without_the_wheel_the_error_names_the_command(context: Path, store_home: Path, tiny_artifact: Path) -> None:
    store.install(tiny_artifact)
    shutil.rmtree(context / "wheels")

    process = build(context, store_home)
    assert process.returncode != 0
    assert "run: make bento" in re.sub(r"\s+", " ", process.stdout + process.stderr)
