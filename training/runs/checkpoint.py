"""Checkpoints: one file each, whole or not there, checked when read.

Knows: the file format (one header line with the payload's sha256, then what `torch.save` wrote), the
naming and how many are kept. Does not know: what the state means.
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
KEPT = 2


def path_of(folder: Path, images_shown: int) -> Path:
    """Where the checkpoint after so many real images lies."""
    return folder / f"checkpoint-{images_shown:012d}.pt"


def present(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(p for p in folder.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d{12}\.pt", p.name))


def save(folder: Path, images_shown: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint atomically, then drop all but the newest two."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    path = path_of(folder, images_shown)
    write_atomically(path, MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
    for old in present(folder)[:-KEPT]:
        old.unlink()
    return path


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read a checkpoint.

    Raises: CheckpointError when the file is not whole; the message says how to go on.
    """
    data = path.read_bytes()
    header, newline, payload = data.partition(b"\n")
    if not newline or not header.startswith(MAGIC):
        raise CheckpointError(path, "is not a checkpoint. " + _way_out(path))
    if hashlib.sha256(payload).hexdigest().encode() != header.removeprefix(MAGIC):
        raise CheckpointError(path, "is damaged: its content does not match its checksum. " + _way_out(path))
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    return state


def _way_out(path: Path) -> str:
    others = [p for p in present(path.parent) if p < path]
    if others:
        return f"Delete it and run the same command again to go on from {others[-1].name}."
    return "Delete it and run the same command again to start over."
