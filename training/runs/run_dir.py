"""A run's folder: what lies where, and whether a run may go on in it.

    config.yaml        the configuration, as resolved
    run.json           the command, torch and device that started the run
    checkpoint-*.pt    training.runs.checkpoint
    stats.jsonl        one line a tick
    tensorboard/       the same as events
    grids/             a picture a tick
    codes.png          what each code does, where there are codes
    mlflow.txt         which of MLflow's runs this is, where it is tracked

Knows: these names, the lock, what makes a folder the same run's, and how what a kill left over is
cleared away. Does not know: training.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from models.errors import FileError, InputError
from models.files import write_atomically
from training.config import Config, dump_config, load_config

CODES = "codes.png"
CONFIG, ORIGIN, STATS, GRIDS, LOCK = "config.yaml", "run.json", "stats.jsonl", "grids", ".lock"
# Settings that only say what the run is called and how it is judged: they may change while it trains.
WORDS = {
    "description",
    "data.name",
    "data.licence",
    "data.attribution",
    "data.use",
    "data.digest",
    "data.aligned_faces",
}


@contextlib.contextmanager
def opened(out: Path) -> Iterator[None]:
    """The folder, made if missing, with nobody else writing to it.

    Raises: FileError when it cannot be used; nothing in it was changed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / CONFIG).exists():
            foreign = sorted(p.name for p in out.iterdir() if p.name not in (LOCK, ORIGIN) and not _is_leftover(p))
            if foreign:
                raise FileError(out, f"is not empty and holds no run (found {foreign[0]}); choose another --out")
        lock = (out / LOCK).open("a")
    except OSError as error:
        raise FileError(out, f"cannot be used: {error.strerror or error}; choose another --out") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(out, "another training run is writing here; wait for it or choose another --out") from None
        yield


def settled(config: Config, out: Path) -> Config:
    """The configuration that this run goes by: number of threads resolved, equal to the saved one.

    Raises: InputError naming a setting in which the saved run differs; FileError.
    """
    saved = load_config(out / CONFIG) if (out / CONFIG).exists() else None
    if not config.threads:
        # Kept with the run, for the last bits depend on it.
        config = config.model_copy(update={"threads": saved.threads if saved else torch.get_num_threads()})
    if saved:
        _check_same(config, saved, out)
    return config


def begin(out: Path, config: Config, command: str, device: str) -> None:
    """Write down a new run; config.yaml comes last and makes the folder a run."""
    write_atomically(out / ORIGIN, json.dumps(_origin(command, device), indent=2).encode() + b"\n")
    write_atomically(out / CONFIG, dump_config(config).encode())


def resume(out: Path, config: Config, kimg: float) -> None:
    """Forget what never reached a checkpoint, clear away half-written files, note a new total_kimg."""
    _forget_after(out / STATS, kimg)
    for folder in (out, out / GRIDS):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
    write_atomically(out / CONFIG, dump_config(config).encode())


def origin(out: Path) -> dict[str, str]:
    """What run.json says: command, torch, device, python.

    Raises: FileError.
    """
    path = out / ORIGIN
    try:
        found = json.loads(path.read_text())
        return {key: str(found[key]) for key in ("command", "torch", "device", "python")}
    except FileNotFoundError:
        raise FileError(path, "is missing; a run's folder must be kept whole") from None
    except (ValueError, KeyError, TypeError):
        raise FileError(path, "is damaged: it does not say how the run was started") from None


def _origin(command: str, device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine() + " CPU"
    return {"command": command, "torch": torch.__version__, "device": name, "python": platform.python_version()}


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _check_same(config: Config, saved: Config, out: Path) -> None:
    ours, theirs = (flat(c.model_dump(mode="json", exclude={"total_kimg", "gate"})) for c in (config, saved))
    for key in sorted((ours.keys() | theirs.keys()) - WORDS):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{out} holds a run with {key}={theirs.get(key)}, not {ours.get(key)}; "
                "give the same settings to resume it, or another --out",
                key,
            )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names, as --set takes them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _forget_after(stats: Path, kimg: float) -> None:
    if not stats.exists():
        return
    kept = []
    for line in stats.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            if json.loads(line)["kimg"] <= kimg:
                kept.append(line + "\n")
    write_atomically(stats, "".join(kept).encode())
