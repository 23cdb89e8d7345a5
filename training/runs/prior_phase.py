"""The last phase of a run with a learned prior: fit it, and add it to the last checkpoint.

A checkpoint without it is of an unfinished run, so a run that was stopped while it fitted begins to fit again, and ends
with the same prior. Not here: how it is fitted (training.gan.prior).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from training.config import Config
from training.gan.learners import generator_config
from training.gan.prior import encode_images, fit_prior
from training.gan.trainer import Trainer
from training.progress import format_duration
from training.runs import checkpoint, run_dir
from training.runs.tick_grids import generate_shown, write_grid
from training.runs.trained_run import load_latest


def needs_prior(config: Config, out: Path) -> bool:
    """Whether the run in the folder `out` is to have a prior that its newest checkpoint lacks."""
    wanted = config.prior
    path = checkpoint.latest_path(out)
    if wanted is None or path is None:
        return False
    fitted = checkpoint.load(path)["generator"]["network"].get("prior")
    return bool(fitted != wanted.model_dump(mode="json"))


def add_prior(trainer: Trainer, out: Path, is_stop_requested: Callable[[], bool]) -> None:
    """Fit the prior and add it to the newest checkpoint, which is of the trainer's state; write the last grid again.

    Raises: KeyboardInterrupt after a stop request; the checkpoint is as it was.
    """
    config, dataset = trainer.config, trainer.dataset
    assert config.prior
    assert trainer.learners.encoder
    start_s = time.monotonic()

    def check_stop(*_: int) -> None:
        if is_stop_requested():
            print("Stopped while the prior was fitted. Run the same command to fit it.")
            raise KeyboardInterrupt

    print(f"Fitting the prior to what the encoder reads from {len(dataset)} images.", flush=True)
    encoded = encode_images(trainer.learners.encoder.network, dataset, trainer.device, config.data, check_stop)
    is_scale = dataset.has_continuous_label
    prior = fit_prior(config.prior, encoded, dataset.num_classes, config.latent_std, config.seed, check_stop, is_scale)
    path = checkpoint.latest_path(out)
    assert path is not None
    state = checkpoint.load(path)
    state["generator"] = generator_config(config, dataset, with_prior=True).model_dump(mode="json")
    state["prior"] = prior.state_dict()
    checkpoint.save(out, trainer.images_shown, state)
    samples = generate_shown(load_latest(out).generator, dataset, config.z_dim)
    write_grid(samples, dataset, run_dir.grid_path(out, trainer.images_shown))
    print(f"Fitted the prior in {format_duration(time.monotonic() - start_s)}.")
