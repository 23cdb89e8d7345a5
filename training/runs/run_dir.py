"""Manage a run's folder: its files, its lock, and whether a run may resume in it.

config.yaml        the configuration, as resolved
run.json           training.runs.provenance
checkpoint-*.pt    training.runs.checkpoint
stats.jsonl        one line per tick
tensorboard/       the same as TensorBoard events
grids/             one grid of samples per tick
codes.png          what each code does, if there are codes
snapshots/         averaged weights from time to time, and how they score on validation images
evaluation/        the report of the newest evaluation (report.json, report.html)
mlflow.txt         the id of the run in MLflow, if it is tracked
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from models.errors import FileError, InputError
from models.evidence import Ancestor
from models.files import VOLUME_FOLDER, write_atomically
from training.config import Config
from training.config_files import dump_config, load_config
from training.precision import resolve_precision
from training.runs import checkpoint
from training.runs.provenance import PROVENANCE_FILE, write_provenance
from training.runs.snapshots import SNAPSHOTS_FOLDER

CONFIG_FILE = "config.yaml"
STATS_FILE = "stats.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
GRIDS_FOLDER = "grids"
CODES_FILE = "codes.png"
EVALUATION_FOLDER = "evaluation"
REPORT_FILE = "report.json"
LOCK_FILE = ".lock"
# Settings that only describe the run; they may change when it resumes.
MUTABLE_FIELDS = {
    "description",
    "data.name",
    "data.licence",
    "data.attribution",
    "data.use",
    "data.digest",
    "data.aligned_faces",
    "data.test",
    "snapshot_kimg",
}


def is_run(path: Path) -> bool:
    """Tell whether a folder holds a run."""
    return (path / CONFIG_FILE).is_file()


def require_run(path: Path) -> None:
    """Check that a folder holds a run.

    Raises: FileError.
    """
    if not is_run(path):
        raise FileError(path, f"holds no run (no {CONFIG_FILE}); give the --out folder of a ganmint train")


def report_path(run: Path) -> Path:
    """Return where the report of a run's newest evaluation is."""
    return run / EVALUATION_FOLDER / REPORT_FILE


def grid_path(run: Path, images_shown: int) -> Path:
    """Return where the grid of the tick after this many real images is."""
    return run / GRIDS_FOLDER / f"{images_shown:012d}.png"


def suggest_model_name(run: Path) -> str:
    """Suggest a model name that resembles the run folder's name: a-z, 0-9, - and _."""
    return re.sub(r"[^a-z0-9_-]+", "-", run.resolve().name.lower()).strip("-_")[:63] or "mymodel"


@contextlib.contextmanager
def lock_run_dir(out: Path) -> Iterator[None]:
    """Make the folder if it is missing, and keep other processes from writing to it.

    Raises: FileError when it cannot be used; nothing in it was changed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / CONFIG_FILE).exists():
            _refuse_other_files(out)
        lock = (out / LOCK_FILE).open("a")
    except OSError as error:
        raise FileError(out, f"cannot be used: {error.strerror or error}; choose another --out") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(out, "another training run is writing here; wait for it or choose another --out") from None
        yield


def refuse_other_files(out: Path) -> None:
    """Check, before the data are read, that the folder holds a run or no other files; it may be missing.

    Raises: FileError.
    """
    if out.is_dir() and not is_run(out):
        with contextlib.suppress(PermissionError):
            _refuse_other_files(out)


def _refuse_other_files(out: Path) -> None:
    names = sorted(path.name for path in out.iterdir())
    for name in names:
        is_leftover = name.startswith(".") and name.endswith(".tmp")
        is_start = name == checkpoint.path_for(out, 0).name
        if name not in (LOCK_FILE, PROVENANCE_FILE, VOLUME_FOLDER) and not is_leftover and not is_start:
            raise FileError(out, f"is not empty and holds no run (found {name}); choose another --out")


def resolve_config(config: Config, out: Path, device: str = "cpu") -> Config:
    """Resolve the number of threads and the precision, and check that the configuration equals the saved one.

    Returns: the configuration that the run uses.
    Raises: InputError naming a setting in which the saved run differs; FileError.
    """
    saved = read_saved(out)
    config = resolve_precision(config, device, saved)
    if not config.threads:
        # The number is saved with the run, because the last bits of a result depend on it.
        config = config.model_copy(update={"threads": saved.threads if saved else torch.get_num_threads()})
    if saved:
        _check_equal(config, saved, out)
    return config


def read_saved(out: Path) -> Config | None:
    """Return the configuration of the run in a folder, if it holds one.

    Raises: FileError.
    """
    return load_config(out / CONFIG_FILE) if is_run(out) else None


def create_run(
    out: Path,
    config: Config,
    command: str,
    device: str,
    ancestors: tuple[Ancestor, ...] = (),
    start: dict[str, Any] | None = None,
) -> None:
    """Save a new run's provenance and configuration; config.yaml comes last and makes the folder a run.

    Args: start, the state of a checkpoint before the first image, for a run that starts from another one.
    """
    write_provenance(out, command, device, ancestors)
    if start:
        checkpoint.save(out, 0, start)
    write_atomically(out / CONFIG_FILE, dump_config(config).encode())


def prepare_resume(out: Path, config: Config, kimg: float) -> None:
    """Drop ticks that no checkpoint includes, delete half-written files and save a new total_kimg."""
    _drop_ticks_after(out / STATS_FILE, kimg)
    for folder in (out, out / GRIDS_FOLDER, out / SNAPSHOTS_FOLDER):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
    write_atomically(out / CONFIG_FILE, dump_config(config).encode())


def read_config(out: Path) -> Config:
    """Read the configuration of a run.

    Raises: FileError.
    """
    return load_config(out / CONFIG_FILE)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names, as --set takes them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _check_equal(config: Config, saved: Config, out: Path) -> None:
    settings, saved_settings = (
        flatten(c.model_dump(mode="json", exclude={"total_kimg", "gate"})) for c in (config, saved)
    )
    for name in sorted((settings.keys() | saved_settings.keys()) - MUTABLE_FIELDS):
        # A prior is fitted when training ends, so it may be added, or changed, later.
        if config.prior and name.startswith("generator.prior"):
            continue
        if settings.get(name) != saved_settings.get(name):
            raise InputError(
                f"{out} holds a run with {name}={saved_settings.get(name)}, not {settings.get(name)}; "
                "give the same settings to resume it, or another --out",
                name,
            )


def _drop_ticks_after(stats: Path, kimg: float) -> None:
    if not stats.exists():
        return
    lines = []
    for line in stats.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            if json.loads(line)["kimg"] <= kimg:
                lines.append(line + "\n")
    write_atomically(stats, "".join(lines).encode())
