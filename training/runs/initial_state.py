"""Bring a trainer to where training goes on: a run's newest checkpoint, or the networks of another run or model."""

from __future__ import annotations

from pathlib import Path

from models.errors import CheckpointError, InputError, first_line
from models.evidence import format_kimg
from training.data.dataset import Dataset
from training.gan.trainer import Trainer
from training.runs import ancestry, checkpoint
from training.runs.ancestry import Start
from training.runs.provenance import PROVENANCE_FILE, read_provenance


def resume(trainer: Trainer, dataset: Dataset, out: Path, init: str | None) -> None:
    """Load the newest checkpoint of the folder, if there is one.

    Args:
        trainer: new; is changed.
        dataset: all data, which must be the run's.
        out: the run folder.
        init: what the run is said to have started from, if anything.
    Raises: InputError, FileError, CheckpointError.
    """
    ancestors = read_provenance(out).ancestors if init or (out / PROVENANCE_FILE).exists() else ()
    if init:
        ancestry.check_same(init, ancestors, out)
    path = checkpoint.latest_path(out)
    if path is None:
        if ancestors:
            raise CheckpointError(
                out, f"has lost its checkpoints, the first of which came from {ancestors[0].source}; choose a new --out"
            )
        return
    state = checkpoint.load(path, str(trainer.device))
    if state["data"]["digest"] != dataset.digest:
        raise CheckpointError(
            path, f"was trained on other data ({state['data']['name']}); give that --data, or a new --out"
        )
    try:
        trainer.load_state(state["trainer"])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise CheckpointError(path, f"does not fit this version's networks ({reason}); choose a new --out") from None
    print(f"Resuming from {path} at {format_kimg(trainer.images_shown / 1000)} kimg.")


def start_from(trainer: Trainer, init: str, allow_other_classes: bool) -> Start:
    """Load the networks of another run or of a published model.

    Args:
        trainer: new; is changed.
        init: the run's folder or the model's name/version.
        allow_other_classes: whether its classes may be others than those of the data.
    Raises: InputError, FileError, CheckpointError.
    """
    start = ancestry.read_start(init, str(trainer.device))
    if not allow_other_classes:
        ancestry.check_class_names(start, trainer.dataset.class_names, init)
    try:
        anew = trainer.start_from(start.state)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise InputError(f"{init} does not fit these settings' networks ({reason})", "--init") from None
    print(f"Starting from {init} after {format_kimg(start.ancestors[0].kimg)} kimg; images are counted from 0.")
    print(f"Begun anew: {', '.join(anew)}; all else is kept." if anew else "Its networks and optimisers are kept.")
    return start
