"""Defines the bento: the service, its models, and what Dockerfile.j2 needs to know to make the container image.

    bentoml build deploy --arg variant=cuda --arg models=digits,faces

BentoML imports this module to build, and again in the container to serve.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import bentoml
from pydantic import BaseModel, ConfigDict

from service.bento import Ganmint

HERE = Path(__file__).parent
# The versions of the locks are for it.
PYTHON = "3.11"
TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"


class Arguments(BaseModel):
    """The arguments of `bentoml build --arg NAME=VALUE`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Literal["cpu", "cuda"] = "cpu"
    """cpu runs models by onnxruntime; cuda has torch, which brings CUDA's libraries."""
    models: str = ""
    """Names in the store, comma-separated; empty: all. The newest version of each is packed."""
    base_image: str = f"python:{PYTHON}-slim"
    """Debian with Python 3.11 and pip; NAME@sha256:DIGEST pins it."""
    extras: str = "image"
    """Ganmint's optional parts, comma-separated; the variant cuda adds torch."""
    revision: str = ""
    """The commit that the image is made of; empty: git's."""
    source: str = ""
    """Where the sources are published; empty: the address of git's remote `origin`."""

    def list_extras(self) -> list[str]:
        """List the optional parts of the image, sorted."""
        names = {name.strip() for name in self.extras.split(",") if name.strip()}
        return sorted(names | {"torch"} if self.variant == "cuda" else names)


def find_wheel(arguments: Arguments) -> Path:
    """Find the wheel of Ganmint, and see that the lock is for these arguments.

    Raises:
        FileNotFoundError: when `make bento` has not put the wheel beside this file.
        ValueError: when the lock is for other optional parts; names the command that makes the right one.
    """
    wheels = list(HERE.glob("wheels/ganmint-*.whl"))
    if len(wheels) != 1:
        raise FileNotFoundError(f"{HERE} has {len(wheels)} files wheels/ganmint-*.whl instead of one; run: make bento")
    lock = HERE / f"requirements-{arguments.variant}.txt"
    extras = ",".join(arguments.list_extras())
    if not lock.read_text().startswith(f"# ganmint[{extras}] "):
        command = f"python -m deploy.lock --variant {arguments.variant} --extras {extras}"
        raise ValueError(f"{lock} is not for the extras {extras!r}; run: {command}")
    return wheels[0]


def make_variables(arguments: Arguments) -> dict[str, str]:
    """Return what Dockerfile.j2 reads: IMAGE_ variables, labels by their names, the container's own variables.

    Raises:
        FileNotFoundError, ValueError: as find_wheel.
    """
    wheel = find_wheel(arguments)
    extras = arguments.list_extras()
    variables = {
        "IMAGE_BASE": arguments.base_image,
        "IMAGE_VARIANT": arguments.variant,
        "IMAGE_EXTRAS": ",".join(extras),
    }
    if arguments.variant == "cuda":
        variables |= {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    elif "torch" in extras:
        variables["IMAGE_EXTRA_INDEX"] = TORCH_FOR_CPUS
    # OCI image specification, annotations.
    labels = {
        "title": "Ganmint",
        "description": "Mints synthetic images from seeds, over HTTP and in bulk",
        "version": wheel.name.split("-")[1],
        "licenses": "Apache-2.0",
        "base.name": arguments.base_image,
        "revision": arguments.revision or _ask_git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"),
        "source": arguments.source or _drop_user(_ask_git("remote", "get-url", "origin")),
    }
    return variables | {f"org.opencontainers.image.{name}": value for name, value in labels.items() if value}


def _ask_git(*arguments: str) -> str:
    """Return git's answer about this folder; empty without git or without an answer."""
    try:
        return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _drop_user(address: str) -> str:
    """Return an address without user and password; empty if it is a folder of this machine."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else ""


def find_tags(names: str) -> list[str]:
    """Find the newest version of each name; returns BentoML's tags, such as digits:4.2.0.

    Args:
        names: comma-separated; empty: every Ganmint model in the store.

    Raises:
        ModelNotFoundError: names the models that the store has.
    """
    from models import store
    from models.errors import ModelNotFoundError

    model_names = [name.strip() for name in names.split(",") if name.strip()] or store.list_names()
    if not model_names:
        raise ModelNotFoundError(
            f"no model in {store.get_home()}; install the bundled ones with: ganmint models install"
        )
    return [f"{stored.name}:{stored.version}" for stored in map(store.find_version, model_names)]


if "BENTOML_CONTAINERIZED" not in os.environ:
    # BentoML's decorator turns the class into a service; its types do not show that.
    _service: Any = Ganmint
    _arguments = bentoml.use_arguments(Arguments)
    _service.envs = [{"name": name, "value": value} for name, value in make_variables(_arguments).items()]
    _service.models = [bentoml.models.BentoModel(tag) for tag in find_tags(_arguments.models)]
