"""run.json: how a run was started, what it started from, and every measurement of it on test images."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.base import Frozen
from models.errors import FileError
from models.evidence import Ancestor
from models.files import write_atomically

PROVENANCE_FILE = "run.json"


class EvaluationRecord(Frozen):
    """A measurement of a run on test images.

    Attributes:
        at: when, in UTC, as ISO 8601.
        kimg: of the measured state.
        protocol: its name.
        digest: of the test images.
        metrics: values by name.
    """

    at: str
    kimg: float
    protocol: str
    digest: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Provenance:
    """How a run was started, and how often it was measured on test images.

    Attributes:
        command: the command line.
        torch: torch's version.
        device: the name of the GPU, or the kind of processor.
        python: Python's version.
        ancestors: what the run started from, the newest first; empty if from nothing.
        test_evaluations: every measurement on test images.
    """

    command: str
    torch: str
    device: str
    python: str
    ancestors: tuple[Ancestor, ...] = ()
    test_evaluations: tuple[EvaluationRecord, ...] = ()


def write_provenance(out: Path, command: str, device: str, ancestors: tuple[Ancestor, ...] = ()) -> None:
    """Write run.json of a new run.

    Args:
        out: the run folder.
        command: the command line.
        device: torch device name.
        ancestors: what the run starts from, the newest first.
    Raises: FileError.
    """
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine() + " CPU"
    content: dict[str, Any] = {
        "command": command,
        "torch": torch.__version__,
        "device": name,
        "python": platform.python_version(),
    }
    if ancestors:
        content["ancestors"] = [ancestor.model_dump(mode="json") for ancestor in ancestors]
    _write(out, content)


def read_provenance(out: Path) -> Provenance:
    """Read run.json.

    Raises: FileError.
    """
    content = _read(out)
    try:
        return Provenance(
            command=str(content["command"]),
            torch=str(content["torch"]),
            device=str(content["device"]),
            python=str(content["python"]),
            ancestors=tuple(map(Ancestor.model_validate, content.get("ancestors", ()))),
            test_evaluations=tuple(map(EvaluationRecord.model_validate, content.get("test_evaluations", ()))),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FileError(out / PROVENANCE_FILE, "is damaged: it does not state how the run was started") from None


def record_test_evaluation(out: Path, evaluation: EvaluationRecord) -> int:
    """Add a measurement on test images to run.json.

    Returns: how many there are now.
    Raises: FileError.
    """
    evaluations = [*read_provenance(out).test_evaluations, evaluation]
    content = _read(out)
    content["test_evaluations"] = [one.model_dump(mode="json") for one in evaluations]
    _write(out, content)
    return len(evaluations)


def _read(out: Path) -> dict[str, Any]:
    path = out / PROVENANCE_FILE
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileError(path, "is missing; a run's folder must be kept complete") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise FileError(path, "is damaged: it does not state how the run was started")
    return content


def _write(out: Path, content: dict[str, Any]) -> None:
    try:
        write_atomically(out / PROVENANCE_FILE, json.dumps(content, indent=2).encode() + b"\n")
    except OSError as error:
        raise FileError(out / PROVENANCE_FILE, f"cannot be written: {error.strerror or error}") from None
