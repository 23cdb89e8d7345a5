"""The content of the bento and of its image. deploy/smoke-container.sh builds and runs the image."""

from __future__ import annotations

import json
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
from deploy import lock
from models import store
from tests.waiting import TIMEOUT_S

REPOSITORY = Path(ganmint.__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """deploy/ as `make bento` leaves it, with an empty wheel: only the container would install it."""
    folder = tmp_path / "deploy"
    (folder / "wheels").mkdir(parents=True)
    for name in ("bento.py", "bentofile.yaml", "Dockerfile.j2", "requirements-cpu.txt", "requirements-cuda.txt"):
        shutil.copy(REPOSITORY / "deploy" / name, folder)
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


def parse_stages(dockerfile: str) -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage, by its name or, of the last one, by ``."""
    lines = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE)).splitlines()
    stages: dict[str, list[tuple[str, str]]] = {}
    for instruction, _, rest in (line.partition(" ") for line in lines if line.strip()):
        if instruction == "FROM":
            current = stages.setdefault(rest.partition(" AS ")[2], [])
        current.append((instruction, rest))
    return stages


def test_a_bento_has_the_newest_models_and_its_image_only_what_the_stages_leave(
    context: Path, store_home: Path, tiny_artifact: Path
) -> None:
    store.install(tiny_artifact)

    process = build(context, store_home, "revision=0123abc", "source=https://example.org/ganmint")
    assert process.returncode == 0, process.stderr
    bento, dockerfile = read_bento(store_home)
    assert [model["tag"] for model in bento["services"][0]["models"]] == ["tiny:1.0.0"]
    assert str(Path.home()) not in dockerfile.replace("/root/.cache", "")
    stages = parse_stages(dockerfile)
    assert stages["base"][0] == ("FROM", "python:3.11-slim AS base")
    # A RUN in the last stage would change or remove what a layer below carries. Without --chown, files belong to root.
    last = stages[""]
    assert last[0] == ("FROM", "scratch")
    assert {name for name, _ in last} == {"FROM", "COPY", "LABEL", "ENV", "WORKDIR", "USER", "EXPOSE", "ENTRYPOINT"}
    assert [rest for name, rest in last if name == "COPY"] == [
        "--from=system / /",
        "--from=packages /app /app",
        "--from=bento /home/bentoml/ /home/bentoml/",
    ]
    assert [rest for name, rest in last if name == "USER"] == ["1034:1034"]
    labels = dict(rest.split("=", 1) for name, rest in last if name == "LABEL")
    assert {name.removeprefix("org.opencontainers.image."): json.loads(text) for name, text in labels.items()} == {
        "title": "Ganmint",
        "description": "Mints synthetic images from seeds, over HTTP and in bulk",
        "version": "0.1.0",
        "licenses": "Apache-2.0",
        "base.name": "python:3.11-slim",
        "revision": "0123abc",
        "source": "https://example.org/ganmint",
    }
    commands = " ".join(rest for stage in stages.values() for name, rest in stage if name == "RUN")
    assert not re.search(r"apt-get|build-essential|\bgit\b", commands)
    installs = re.findall(r"pip install [^;]*", commands)
    assert len(installs) == 2
    assert "--require-hashes" in installs[0] and "--requirement /build/requirements-cpu.txt" in installs[0]
    assert "--no-index /build/ganmint-*.whl" in installs[1]


@pytest.mark.parametrize(
    ("arguments", "extras", "index"),
    [
        # Models of schema 1 need torch.
        (["variant=cpu", "extras=image,torch"], "image,torch", True),
        (["variant=cuda"], "image,torch", False),
        (["variant=cuda", "extras="], "torch", False),
    ],
)
def test_torch_comes_without_its_headers_and_for_cpus_from_its_own_index(
    context: Path, store_home: Path, tiny_artifact: Path, arguments: list[str], extras: str, index: bool
) -> None:
    store.install(tiny_artifact)
    variant = arguments[0].partition("=")[2]
    lock_file = context / f"requirements-{variant}.txt"
    lock_file.write_text(lock.write_header(extras) + "\n")

    process = build(context, store_home, *arguments)
    assert process.returncode == 0, process.stderr
    stages = parse_stages(read_bento(store_home)[1])
    assert any("torch_shm_manager" in rest for name, rest in stages["packages"])
    assert any("download.pytorch.org/whl/cpu" in rest for name, rest in stages["packages"]) == index
    assert any("NVIDIA_DRIVER_CAPABILITIES" in rest for name, rest in stages[""]) == (variant == "cuda")


def test_a_lock_for_other_extras_is_refused_with_the_command_that_makes_it(
    context: Path, store_home: Path, tiny_artifact: Path
) -> None:
    store.install(tiny_artifact)

    process = build(context, store_home, "extras=parquet,image")
    assert process.returncode != 0
    message = re.sub(r"\s+", " ", process.stdout + process.stderr)
    assert "run: python -m deploy.lock --variant cpu --extras image,parquet" in message


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
