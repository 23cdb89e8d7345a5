"""Defines the bento: the service, its models, and the container image.

    bentoml build deploy --arg variant=cuda --arg models=digits,faces

BentoML imports this module to build, and again in the container to serve.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import bentoml
from bentoml.images import Image
from pydantic import BaseModel, ConfigDict

from service.bento import Ganmint

# The version that constraints.txt was tested with.
PYTHON = "3.11"
# The bento's folder in BentoML's image.
HOME = "/home/bentoml/bento"
TORCH = f"/app/.venv/lib/python{PYTHON}/site-packages/torch"


class Arguments(BaseModel):
    """The arguments of `bentoml build --arg NAME=VALUE`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Literal["cpu", "cuda"] = "cpu"
    """cpu runs models by onnxruntime; cuda has torch, which brings CUDA's libraries."""
    models: str = ""
    """Names in the store, comma-separated; empty: all. The newest version of each is packed."""
    base_image: str = f"python:{PYTHON}-slim"
    """Debian with Python 3.11."""
    extras: str = "image"
    """Ganmint's optional parts, comma-separated; the variant cuda adds torch."""

    def list_extras(self) -> list[str]:
        """List the optional parts of the image."""
        names = [name.strip() for name in self.extras.split(",") if name.strip()]
        return [*names, "torch"] if self.variant == "cuda" and "torch" not in names else names


def make_image(arguments: Arguments) -> Image:
    """Make an image of Ganmint, installed by constraints.txt, without compilers and installers.

    Raises:
        FileNotFoundError: when `make bento` has not put the wheel and the constraints beside this file.
    """
    here = Path(__file__).parent
    if not (here / "constraints.txt").is_file() or not list(here.glob("wheels/ganmint-*.whl")):
        raise FileNotFoundError(f"{here} has no constraints.txt or no wheels/ganmint-*.whl; run: make bento")
    # BentoML adds a compiler and git to every distribution whose name it knows.
    image = Image(base_image=arguments.base_image, distro="as it is", python_version=PYTHON, lock_python_packages=False)
    # BentoML's template would install the newest uv.
    (uv,) = [line for line in (here / "constraints.txt").read_text().splitlines() if line.startswith("uv==")]
    image.run(f"command -v uv >/dev/null || pip install --no-cache-dir {uv}")
    extras = arguments.list_extras()
    image.python_packages(f"ganmint[{','.join(extras)}]" if extras else "ganmint")
    image.build_include("constraints.txt", "wheels")
    # Installers are not needed any more.
    image.run("rm -rf /root/.cache /usr/local/lib/python*/site-packages/pip* $(which -a uv uvx pip pip3 pip3.11)")
    if "torch" in extras:
        # 190 MB of C++ headers, torch's own tests and a compiler. Torch does not import without torch_shm_manager.
        image.run(f"cd {TORCH} && rm -rf include test && find bin -type f ! -name torch_shm_manager -delete")
    # BENTOML_HOME is the folder above, and its store the bento's. BentoML would make these folders there, which a
    # read-only root does not allow.
    image.run("mkdir ../bentos ../envs ../tmp && ln -s bento/models ../models")
    return image


def make_environment(arguments: Arguments) -> list[dict[str, str]]:
    """Return the variables of the image's build and of the container."""
    variables = {
        "BENTOML_DO_NOT_TRACK": "true",
        "UV_CONSTRAINT": f"{HOME}/src/constraints.txt",
        "UV_FIND_LINKS": f"{HOME}/src/wheels",
    }
    by_variant = {
        # Where the extras bring torch: its wheel without CUDA, from PyTorch's own index.
        "cpu": {"UV_TORCH_BACKEND": "cpu"},
        "cuda": {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
    }
    variables |= by_variant[arguments.variant]
    return [{"name": name, "value": value} for name, value in variables.items()]


def find_tags(names: str) -> list[str]:
    """Find the newest version of each name; returns BentoML's tags, such as digits:3.1.0.

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
    _service.image = make_image(_arguments)
    _service.envs = make_environment(_arguments)
    _service.models = [bentoml.models.BentoModel(tag) for tag in find_tags(_arguments.models)]
