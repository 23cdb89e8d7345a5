"""Choose a device and load an artifact's runtime; torch is imported only where it is needed."""

from __future__ import annotations

import re
from pathlib import Path

from models.errors import InputError
from models.manifest import Manifest
from models.runtime.base import Runtime

TORCHSCRIPT_FILE = "generator.ts"


def resolve_device(name: str) -> str:
    """Return a device that works here: `auto` is cuda where there is one, else cpu.

    Raises: InputError.
    """
    if name == "cpu":
        return name
    if not re.fullmatch(r"auto|cuda(:[0-9]{1,3})?", name):
        raise InputError(f"{name!r} cannot be used: it must be auto, cpu, cuda or cuda:N", "device")
    from models.runtime import torchscript

    if name == "auto":
        return "cuda" if torchscript.has_cuda() else "cpu"
    torchscript.check_device(name)
    return name


def load_runtime(folder: Path, manifest: Manifest, device: str) -> Runtime:
    """Load the generator of an artifact folder whose hashes were checked.

    Raises: ArtifactError naming the file.
    """
    from models.runtime.torchscript import TorchRuntime, load_torchscript

    return TorchRuntime(load_torchscript(folder / TORCHSCRIPT_FILE, device), manifest, device)
