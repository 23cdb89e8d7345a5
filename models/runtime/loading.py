"""Choose a device and a runtime; torch and onnxruntime are imported only where they are needed."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from models import memory
from models.artifact_files import ONNX_FILE, TORCHSCRIPT_FILE, ArtifactFiles
from models.errors import ArtifactError, GanmintError, InputError
from models.manifest import Manifest
from models.runtime.base import Runtime

log = logging.getLogger("ganmint.models")
RUNTIME_VARIABLE = "GANMINT_RUNTIME"
RuntimeName = Literal["onnx", "torchscript"]
RuntimeChoice = Literal["auto", "onnx", "torchscript"]


def resolve_device(name: str) -> str:
    """Return a device that works here: `auto` is cuda where there is a GPU and torch can use it, else cpu.

    Raises: InputError.
    """
    if name == "cpu":
        return name
    if not re.fullmatch(r"auto|cuda(:[0-9]{1,3})?", name):
        raise InputError(f"{name!r} cannot be used: it must be auto, cpu, cuda or cuda:N", "device")
    if name == "auto" and not (has_nvidia_driver() and find_spec("torch")):
        return "cpu"
    if not find_spec("torch"):
        raise InputError(f"{name!r} needs torch; install it with: pip install torch", "device")
    from models.runtime import torchscript

    if name == "auto":
        return "cuda" if torchscript.has_cuda() else "cpu"
    torchscript.check_device(name)
    return name


def has_nvidia_driver() -> bool:
    """Return whether NVIDIA's driver is installed, without importing torch to find out."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def read_runtime_choice() -> RuntimeChoice:
    """Return the runtime that GANMINT_RUNTIME names, `auto` where it is not set.

    Raises: InputError.
    """
    text = os.environ.get(RUNTIME_VARIABLE, "") or "auto"
    for choice in get_args(RuntimeChoice):
        if text == choice:
            return choice  # type: ignore[no-any-return]
    raise InputError(f"must be one of {', '.join(get_args(RuntimeChoice))}, got {text!r}", RUNTIME_VARIABLE)


def choose_runtime(folder: Path, manifest: Manifest, device: str, choice: RuntimeChoice = "auto") -> RuntimeName:
    """Choose what runs an artifact: ONNX on the CPU where the artifact has the file, else TorchScript.

    Args:
        folder: an artifact.
        manifest: the artifact's.
        device: a resolved device.
        choice: a runtime to take in any case, or auto.
    Raises: InputError, GanmintError where the choice cannot be had here.
    """
    has_file = manifest.schema_version >= 2
    if choice == "onnx":
        if device != "cpu":
            raise InputError(
                f"onnx runs on the CPU only, not on {device}; choose auto or torchscript", RUNTIME_VARIABLE
            )
        if not has_file:
            raise ArtifactError(
                folder / ONNX_FILE,
                "is missing: the model is of schema 1; make a version that has it with: ganmint models upgrade "
                f"{manifest.name}/{manifest.version}",
            )
        return "onnx"
    if choice == "auto" and device == "cpu" and has_file and find_spec("onnxruntime"):
        return "onnx"
    prefers_onnx = choice == "auto" and device == "cpu"
    if not find_spec("torch"):
        remedy = "onnxruntime" if has_file and prefers_onnx else "torch"
        raise GanmintError(f"{folder}: no runtime that can run this model is installed; try: pip install {remedy}")
    if prefers_onnx:
        title = f"{manifest.name}/{manifest.version}"
        reason = "onnxruntime is not installed; pip install onnxruntime makes it lighter"
        if not has_file:
            reason = f"it has no {ONNX_FILE}; ganmint models upgrade {title} makes a version that has it"
        log.warning("%s runs on TorchScript, because %s", title, reason)
    return "torchscript"


def load_runtime(files: ArtifactFiles, manifest: Manifest, device: str, choice: RuntimeChoice = "auto") -> Runtime:
    """Load the generator of an artifact whose hashes were checked.

    Args:
        files: the artifact's.
        manifest: the artifact's.
        device: a resolved device.
        choice: a runtime to take in any case, or auto.
    Raises: ArtifactError naming the file; InputError, GanmintError where the choice cannot be had here.
    """
    if choose_runtime(files.folder, manifest, device, choice) == "onnx":
        from models.runtime.onnx import OnnxRuntime

        return OnnxRuntime(files.get(ONNX_FILE), files.folder / ONNX_FILE, manifest)
    from models.runtime.torchscript import TorchRuntime, load_torchscript

    if device == "cpu":
        memory.keep_freed()
    path = files.folder / TORCHSCRIPT_FILE
    return TorchRuntime(load_torchscript(files.get(TORCHSCRIPT_FILE), path, device), manifest, device)
