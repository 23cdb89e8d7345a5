"""The bento: the service, the models that go with it, and the image around them.

Knows: what a container of Ganmint is made of. Does not know: routes, settings, clusters.

    bentoml build deploy --arg variant=cuda --arg models=digits,faces

BentoML imports it to build, and again in the container to serve.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import bentoml
from bentoml.images import Image
from pydantic import BaseModel, ConfigDict

from service.bento import Ganmint

# What constraints.txt was tested with.
PYTHON = "3.11"
# Where BentoML's image has the bento.
HOME = "/home/bentoml/bento"
TORCH = f"/app/.venv/lib/python{PYTHON}/site-packages/torch"


class Arguments(BaseModel):
    """What `bentoml build --arg NAME=VALUE` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Literal["cpu", "cuda"] = "cpu"
    models: str = ""
    """Names in the store, comma-separated; empty: all. The newest version of each is packed."""
    base_image: str = f"python:{PYTHON}-slim"
    """Debian with Python 3.11; CUDA's libraries come with torch."""
    extras: str = "image"
    """Ganmint's optional parts, comma-separated."""


def image(arguments: Arguments) -> Image:
    """Ganmint, installed as constraints.txt says, and nothing that builds or installs.

    Raises: FileNotFoundError where `make bento` has not laid the wheel and the constraints beside this file.
    """
    here = Path(__file__).parent
    if not (here / "constraints.txt").is_file() or not list(here.glob("wheels/ganmint-*.whl")):
        raise FileNotFoundError(f"{here} has no constraints.txt or no wheels/ganmint-*.whl; run: make bento")
    # Any distribution that BentoML knows by name would get a compiler and git.
    made = Image(base_image=arguments.base_image, distro="as it is", python_version=PYTHON, lock_python_packages=False)
    # BentoML's template would take the newest.
    (uv,) = [line for line in (here / "constraints.txt").read_text().splitlines() if line.startswith("uv==")]
    made.run(f"command -v uv >/dev/null || pip install --no-cache-dir {uv}")
    made.python_packages(f"ganmint[{arguments.extras}]" if arguments.extras else "ganmint")
    made.build_include("constraints.txt", "wheels")
    # What installs has no more to do.
    made.run("rm -rf /root/.cache /usr/local/lib/python*/site-packages/pip* $(which -a uv uvx pip pip3 pip3.11)")
    # 190 MB of C++ headers, torch's own tests and a compiler; without this one program torch is not imported.
    made.run(f"cd {TORCH} && rm -rf include test && find bin -type f ! -name torch_shm_manager -delete")
    # BENTOML_HOME is the folder above: its store is the bento's, and what BentoML would make there a read-only
    # root would not let it.
    made.run("mkdir ../bentos ../envs ../tmp && ln -s bento/models ../models")
    return made


def environment(arguments: Arguments) -> list[dict[str, str]]:
    """Variables of the image's build and of the container."""
    common = {
        "BENTOML_DO_NOT_TRACK": "true",
        "UV_CONSTRAINT": f"{HOME}/src/constraints.txt",
        "UV_FIND_LINKS": f"{HOME}/src/wheels",
    }
    of_variant = {
        # torch's wheel without CUDA, from PyTorch's own index.
        "cpu": {"UV_TORCH_BACKEND": "cpu"},
        "cuda": {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
    }
    return [{"name": name, "value": value} for name, value in {**common, **of_variant[arguments.variant]}.items()]


def tags(names: str) -> list[str]:
    """The newest version of each name, as BentoML writes it.

    Args: names, comma-separated; empty: every Ganmint model in the store.
    Raises: ModelNotFoundError naming what there is.
    """
    from models import store
    from models.errors import ModelNotFoundError

    wanted = [name.strip() for name in names.split(",") if name.strip()] or store.list_names()
    if not wanted:
        raise ModelNotFoundError(
            f"no model in {store.get_home()}; install the bundled ones with: ganmint models install"
        )
    return [f"{stored.name}:{stored.version}" for stored in map(store.find_version, wanted)]


if "BENTOML_CONTAINERIZED" not in os.environ:
    # BentoML's decorator makes the class a service, which its types do not say.
    _service: Any = Ganmint
    _arguments = bentoml.use_arguments(Arguments)
    _service.image = image(_arguments)
    _service.envs = environment(_arguments)
    _service.models = [bentoml.models.BentoModel(tag) for tag in tags(_arguments.models)]
