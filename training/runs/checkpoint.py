"""Save and load checkpoints: each is one file, written atomically and verified when it is read.

Format: one header line with the payload's sha256, then what `torch.save` wrote.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import torch

from models.errors import CheckpointError
from models.files import write_atomically

MAGIC = b"ganmint-checkpoint 1 sha256="
# How many checkpoints a run keeps.
MAX_CHECKPOINTS = 2


def path_for(folder: Path, images_shown: int) -> Path:
    """Return the path of the checkpoint after this many real images."""
    return folder / f"checkpoint-{images_shown:012d}.pt"


def count_images(path: Path) -> int:
    """Return how many real images had been shown when a checkpoint was saved, by its name."""
    return int(path.stem.rpartition("-")[2])


def list_paths(folder: Path) -> list[Path]:
    """List the checkpoints of a run, oldest first."""
    return sorted(p for p in folder.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d{12}\.pt", p.name))


def latest_path(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run, if it has one."""
    return next(reversed(list_paths(folder)), None)


def save(folder: Path, images_shown: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint atomically, then delete all but the newest two."""
    path = path_for(folder, images_shown)
    write(path, state)
    for older in list_paths(folder)[:-MAX_CHECKPOINTS]:
        older.unlink()
    return path


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a file that `load` reads, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    write_atomically(path, MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises: CheckpointError when the file is damaged; the message says how to continue.
    """
    data = path.read_bytes()
    header, newline, payload = data.partition(b"\n")
    if not newline or not header.startswith(MAGIC):
        raise CheckpointError(path, f"is not a checkpoint. {_remedy(path)}")
    if hashlib.sha256(payload).hexdigest().encode() != header.removeprefix(MAGIC):
        raise CheckpointError(path, f"is damaged: its content does not match its checksum. {_remedy(path)}")
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    return state


def _remedy(path: Path) -> str:
    older = [p for p in list_paths(path.parent) if p < path]
    if older:
        return f"Delete it and run the same command again to resume from {older[-1].name}."
    return "Delete it and run the same command again to start over."
