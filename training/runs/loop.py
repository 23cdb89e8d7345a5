"""Train: from a configuration and data to a run folder with checkpoints.

Not here: the mathematics of a step (training.gan.updates), the folder's files (training.runs.run_dir), what training
goes on from (training.runs.initial_state), how progress is shown (training.runs.loggers).
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from models import toy_recording
from models.base import first_problem
from models.errors import InputError
from models.evidence import format_kimg
from models.network_config import DCGANConfig
from training import distributed
from training.config import Config
from training.config_files import find_preset
from training.data.dataset import Dataset
from training.data.split import count_parts, split_dataset
from training.distributed import ProcessGroup
from training.gan.learners import discriminator_config, generator_config
from training.gan.trainer import Trainer
from training.gan.updates import STATS
from training.precision import resolve_precision
from training.runs import checkpoint, initial_state, prior_phase, run_dir
from training.runs.cost import measure_steps
from training.runs.divergence import check_finite, check_not_won
from training.runs.lab_record import record_tick
from training.runs.latent_traversal import write_code_traversals
from training.runs.loggers import Logger, LoggerGroup, Tick, create_loggers
from training.runs.mlflow_logger import TRACKERS
from training.runs.snapshots import save_if_due
from training.runs.tick_grids import generate_shown, write_grid


class StopRequest:
    """Whether a signal asked the run to stop."""

    def __init__(self) -> None:
        self.is_set = False


def run(
    config: Config,
    dataset: Dataset,
    out: Path,
    device: str,
    command: str,
    track: Sequence[str] = (),
    init: str | None = None,
    allow_other_classes: bool = False,
) -> None:
    """Train until `total_kimg`; resume if `out` already holds a run.

    Args:
        config: the configuration; must equal the saved one when resuming, except for total_kimg.
        dataset: all data, the holdout included; must be the same when resuming.
        out: the run folder, made if missing.
        device: torch device name.
        command: the command line that starts the run, for the manifest.
        track: names of TRACKERS to report to besides the folder.
        init: a run or a published model that a new run starts from: its networks, and a run's optimisers. Images are
            counted from 0.
        allow_other_classes: let the new run's classes be others than those of `init`.
    Raises:
        InputError, FileError, CheckpointError: out cannot be used; nothing in it was changed.
        TrainingDivergedError: the run cannot continue; the last checkpoint stays.
        KeyboardInterrupt: SIGINT or SIGTERM stopped the run, after a checkpoint was saved.
    """
    check_shape(config, dataset)
    config = drop_other_terms(config, dataset)
    with distributed.init_distributed(device) as group, _catch_stop_signals() as stop, contextlib.ExitStack() as stack:
        check_batch_split(config, group)
        if group.is_main:
            stack.enter_context(run_dir.lock_run_dir(out))
        config = run_dir.resolve_config(config, out, device)
        trainer = _create_trainer(config, dataset, device, group)
        start = None
        is_resumed = run_dir.is_run(out)
        if is_resumed:
            initial_state.resume(trainer, dataset, out, init)
        elif init:
            start = initial_state.start_from(trainer, init, allow_other_classes)
        # From here on the main process changes the folder.
        group.wait()
        data_info = describe_data(config, dataset)
        if group.is_main and not is_resumed:
            state = _checkpoint_state(trainer, data_info) if start else None
            run_dir.create_run(out, config, command, device, start.ancestors if start else (), state)
        is_trained = trainer.images_shown >= config.total_kimg * 1000
        if is_trained and not prior_phase.needs_prior(config, out):
            print(f"{out} is already trained to {format_kimg(trainer.images_shown / 1000)} kimg; nothing to do.")
            return
        loggers: list[Logger] = []
        if group.is_main:
            run_dir.prepare_resume(out, config, trainer.images_shown / 1000)
            loggers += create_loggers(out, config.total_kimg, config.tick_kimg, trainer.images_shown)
            loggers += [TRACKERS[name](out, config) for name in track]
        logger = stack.enter_context(LoggerGroup(loggers))
        _train(trainer, data_info, out, logger, stop)
        if group.is_main and config.prior:
            prior_phase.add_prior(trainer, out, lambda: stop.is_set)


def _create_trainer(config: Config, dataset: Dataset, device: str, group: ProcessGroup) -> Trainer:
    """Create the trainer on the training images, and set torch's threads and determinism."""
    torch.set_num_threads(config.threads)
    # The same as use_deterministic_algorithms, which would import a compiler.
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "default")
    # All of it is written before it is read; to fill it first takes a fifth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    data = config.data
    parts = split_dataset(dataset, data.holdout, data.validation, data.stratify_holdout)
    return Trainer(config, parts.train, device, group)


def measure_rate(config: Config, dataset: Dataset, device: str, seconds: float = 3.0) -> float:
    """Take steps of a new training for some seconds, and throw them away; return the images per second."""
    config = resolve_precision(config, device)
    config = config.model_copy(update={"threads": config.threads or torch.get_num_threads()})
    return measure_steps(_create_trainer(config, dataset, device, distributed.SINGLE), seconds)


def check_batch_split(config: Config, group: ProcessGroup) -> None:
    """Check that the batch can be split between the processes without changing what is learnt.

    Raises: InputError.
    """
    if group.size == 1:
        return
    if any(isinstance(network, DCGANConfig) for network in (config.generator, config.discriminator)):
        raise InputError("dcgan has BatchNorm, which would see only one process's images; use one process", "generator")
    unit = group.size * config.batch_unit
    if config.batch % unit:
        raise InputError(f"{config.batch} must be a multiple of {unit}, for {group.size} processes", "batch")


def check_shape(config: Config, dataset: Dataset) -> None:
    """Check that the configured networks make samples of the data's shape.

    Raises: InputError for --data.
    """
    try:
        generator_config(config, dataset)
        discriminator_config(config, dataset)
    except ValidationError as error:
        hint = ""
        with contextlib.suppress(InputError):
            preset = find_preset(dataset.shape)
            if preset != config.preset:
                hint = f"; leave --preset out to use {preset}, which fits"
        raise InputError(f"{first_problem(error).message} (preset {config.preset}){hint}", "--data") from None


def drop_other_terms(config: Config, dataset: Dataset) -> Config:
    """Return the configuration without the name and licence that a preset states for other data than this."""
    return config.model_copy(update={"data": config.data.without_terms_of_other_data(dataset.digest)})


def describe_data(config: Config, dataset: Dataset) -> dict[str, Any]:
    """Describe the data for the checkpoint and the manifest.

    The configured name, licence, attribution and use count only if they were written for this data.
    """
    data = config.data.without_terms_of_other_data(dataset.digest)
    trained, *_ = count_parts(dataset.groups, data.holdout, data.validation, data.stratify_holdout)
    return {
        "name": data.name or dataset.name,
        "digest": dataset.digest,
        "images": len(dataset),
        "held_out": len(dataset) - trained,
        "licence": data.licence or "not stated",
        "attribution": data.attribution,
        "use": data.use,
        "label_names": list(dataset.class_names),
        "label_values": dataset.label_values,
    }


def _train(trainer: Trainer, data_info: dict[str, Any], out: Path, logger: Logger, stop: StopRequest) -> None:
    """Train tick by tick; save a checkpoint after each."""
    total_images = trainer.config.total_kimg * 1000
    won_margins: list[float] = []
    while trainer.images_shown < total_images:
        tick = _train_tick(trainer, logger, stop)
        if tick is None:
            break
        logger.log_tick(tick)
        check_finite(trainer, tick)
        won_margins = check_not_won(tick, won_margins)
        # While D may have won, only the end is saved, so that a restart detects it again.
        if trainer.group.is_main and (not won_margins or trainer.images_shown >= total_images):
            _save(trainer, tick, data_info, out)
    if stop.is_set and trainer.images_shown < total_images:
        path = checkpoint.latest_path(out)
        saved = f"saved in {path.name}" if path else "before there was anything to save"
        print(f"Stopped at {format_kimg(trainer.images_shown / 1000)} kimg, {saved}. Run the same command to resume.")
        raise KeyboardInterrupt


def _train_tick(trainer: Trainer, logger: Logger, stop: StopRequest) -> Tick | None:
    """Train until the end of the tick or a stop request; return None if there was no step."""
    config = trainer.config
    first_image = trainer.images_shown
    start_s = time.perf_counter()
    tick_images = config.tick_kimg * 1000
    # Rounding may put the end of the tick at the current image.
    end_image = max((math.floor(first_image / tick_images) + 1) * tick_images, first_image + 1)
    end_image = min(end_image, config.total_kimg * 1000)
    sums = torch.zeros(len(STATS), dtype=torch.float64, device=trainer.device)
    steps = 0
    while trainer.images_shown < end_image and not _is_stop_requested(trainer, stop):
        stats = trainer.step()
        sums += torch.stack([stats[name] for name in STATS])
        steps += 1
        logger.log_step(trainer.images_shown, trainer.images_shown - first_image, time.perf_counter() - start_s)
    if not steps:
        return None
    inputs = trainer.inputs()
    return Tick(
        kimg=trainer.images_shown / 1000,
        images_per_second=(trainer.images_shown - first_image) / (time.perf_counter() - start_s),
        lr=inputs.scheduled(config.lr),
        gamma=inputs.scheduled(config.gamma),
        augment_p=inputs.augment_p,
        **dict(zip(STATS, (sums / steps).tolist())),
    )


def _is_stop_requested(trainer: Trainer, stop: StopRequest) -> bool:
    """Tell whether any process was asked to stop; then all processes stop at the same step."""
    is_requested = trainer.group.any(stop.is_set, trainer.device)
    # Never reset it: a signal may have set it since it was read.
    if is_requested:
        stop.is_set = True
    return is_requested


def _save(trainer: Trainer, tick: Tick, data_info: dict[str, Any], out: Path) -> None:
    """Save the tick's grid, what toy data record, the checkpoint and, if it is due, the snapshot."""
    config = trainer.config
    dataset = trainer.dataset
    samples = generate_shown(trainer.learners.ema, dataset, config.z_dim)
    write_grid(samples, dataset, run_dir.grid_path(out, trainer.images_shown))
    if config.infogan_codes and dataset.has_images:
        path = out / run_dir.CODES_FILE
        write_code_traversals(trainer.learners.ema, config.z_dim, dataset.num_classes, config.infogan_codes, path)
    state = _checkpoint_state(trainer, data_info)
    if config.data.is_toy:
        record_tick(trainer, tick, samples, out / toy_recording.FILE_NAME)
    if dataset.has_images:
        save_if_due(out, trainer.images_shown, config.snapshot_kimg, state)
    checkpoint.save(out, trainer.images_shown, state)


def _checkpoint_state(trainer: Trainer, data_info: dict[str, Any]) -> dict[str, Any]:
    return {
        "trainer": trainer.state(),
        "generator": generator_config(trainer.config, trainer.dataset).model_dump(mode="json"),
        "data": data_info,
    }


@contextlib.contextmanager
def _catch_stop_signals() -> Iterator[StopRequest]:
    """Turn a SIGINT or SIGTERM into a stop request, so that the loop stops between two steps."""
    stop = StopRequest()

    def request_stop(*_: object) -> None:
        stop.is_set = True

    handlers = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
