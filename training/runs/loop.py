"""The training loop: from a configuration and data to a folder with checkpoints.

Knows: ticks, resuming, stop signals, when to give up. Does not know: the mathematics of a step
(training.gan.trainer), the folder's files (training.runs.run_dir), how progress is shown
(training.runs.loggers).
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from models.base import first_problem
from models.errors import CheckpointError, InputError, TrainingDivergedError
from models.networks import DCGANConfig
from training import distributed
from training.config import Config, preset_for
from training.data.dataset import Dataset
from training.distributed import ProcessGroup
from training.gan.trainer import STATS, Trainer, discriminator_config, generator_config
from training.runs import checkpoint, run_dir
from training.runs.latent_traversal import strips
from training.runs.loggers import Progress, Tick, sinks
from training.runs.mlflow_logger import TRACKERS
from training.runs.snapshots import snapshot

# By this margin on every pair, D's own loss is flat; when G does not close it either, nothing moves any more.
WON_MARGIN = 20.0
WON_TICKS = 3
# A margin that shrinks by more than this a tick is being closed.
CATCHING_UP = 0.99
ADVICE = "Lower lr or raise gamma, in a new --out folder."


def run(
    config: Config,
    dataset: Dataset,
    out: Path,
    device: str,
    command: str,
    track: Sequence[str] = (),
    init: Path | None = None,
) -> None:
    """Train until `total_kimg`, resuming whatever `out` already holds.

    Args:
        config: the configuration; must equal the saved one when resuming, but for total_kimg.
        dataset: all of the data, what is held out included; must be the same when resuming.
        out: the run folder, made if missing.
        device: torch device name.
        command: the command line that starts the run, kept for the model's card.
        track: names of TRACKERS to report to besides the folder.
        init: a run whose newest checkpoint a new run begins with: networks, optimisers, images shown.
    Raises:
        InputError, FileError, CheckpointError: out cannot be used; nothing in it was changed.
        TrainingDivergedError: the run cannot go on; the last checkpoint stays.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM after saving a checkpoint.
    """
    check_fits(config, dataset)
    with distributed.init_distributed(device) as team, _stop_requests() as stop, contextlib.ExitStack() as stack:
        check_shares(config, team)
        if team.is_main:
            stack.enter_context(run_dir.opened(out))
        config = run_dir.settled(config, out)
        torch.set_num_threads(config.threads)
        # Cheaper to switch on than use_deterministic_algorithms, which does the same and imports a compiler.
        torch.set_deterministic_debug_mode("error" if device == "cpu" else "default")
        without_holdout, _ = dataset.split(config.data.holdout)
        train, _ = without_holdout.stratified_split(config.data.validation)
        trainer = Trainer(config, train, device, team)
        holds_run = _resumed(trainer, dataset, out)
        if init and not trainer.images_shown:
            _begin_with(trainer, init)
        # From here on the leader changes the folder.
        team.wait()
        if team.is_main and not holds_run:
            run_dir.begin(out, config, command, device)
        if trainer.images_shown >= config.total_kimg * 1000:
            print(f"{out} is already trained to {trainer.images_shown / 1000:g} kimg; nothing to do.")
            return
        if team.is_main:
            run_dir.resume(out, config, trainer.images_shown / 1000)
        reports = sinks(out, config.total_kimg, trainer.images_shown) if team.is_main else []
        reports += [TRACKERS[name](out, config) for name in track if team.is_main]
        progress = stack.enter_context(Progress(reports))
        _ticks(trainer, describe_data(config, dataset), out, progress, stop)


def check_shares(config: Config, team: ProcessGroup) -> None:
    """Whether the batch can be shared by so many processes without changing what is learnt.

    Raises: InputError.
    """
    if team.size == 1:
        return
    if any(isinstance(network, DCGANConfig) for network in (config.generator, config.discriminator)):
        raise InputError("dcgan has BatchNorm, which would see one process's images only; use one process", "generator")
    unit = team.size * config.inseparable
    if config.batch % unit:
        raise InputError(f"{config.batch} must be a multiple of {unit}, for {team.size} processes", "batch")


def check_fits(config: Config, dataset: Dataset) -> None:
    """Whether the configured networks make samples of the data's shape.

    Raises: InputError for --data.
    """
    try:
        generator_config(config, dataset)
        discriminator_config(config, dataset)
    except ValidationError as error:
        problem = first_problem(error).message
        hint = ""
        with contextlib.suppress(InputError):
            if (fitting := preset_for(dataset.shape)) != config.preset:
                hint = f"; without --preset, {fitting} is taken, which fits"
        raise InputError(f"{problem} (preset {config.preset}){hint}", "--data") from None


def describe_data(config: Config, dataset: Dataset) -> dict[str, Any]:
    """What checkpoint and card say of the data: the configuration's words, if they are about this data."""
    card = config.data
    known = card.digest in ("", dataset.digest)
    return {
        "name": (card.name if known else "") or dataset.name,
        "digest": dataset.digest,
        "images": len(dataset),
        "held_out": dataset.holdout_size(config.data.holdout),
        "licence": (card.licence if known else "") or "not stated",
        "attribution": card.attribution if known else "",
        "use": card.use if known else "",
        "label_names": list(dataset.class_names),
    }


def _resumed(trainer: Trainer, dataset: Dataset, out: Path) -> bool:
    """Load the newest checkpoint, if there is one; says whether the folder holds a run at all."""
    if not (out / run_dir.CONFIG).exists():
        return False
    found = checkpoint.present(out)
    if not found:
        return True
    state = checkpoint.load(found[-1], str(trainer.device))
    if state["data"]["digest"] != dataset.digest:
        raise CheckpointError(
            found[-1], f"was trained on other data ({state['data']['name']}); give that --data, or a new --out"
        )
    try:
        trainer.load_state(state["trainer"])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            found[-1], f"does not fit this version's networks ({reason}); choose a new --out"
        ) from None
    print(f"Resuming from {found[-1]} at {trainer.images_shown / 1000:g} kimg.")
    return True


def _begin_with(trainer: Trainer, init: Path) -> None:
    found = checkpoint.present(init)
    if not found:
        raise InputError(f"{init} holds no checkpoint; give the folder of a run", "--init")
    try:
        trainer.load_state(checkpoint.load(found[-1], str(trainer.device))["trainer"])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{found[-1]} does not fit these settings' networks ({reason})", "--init") from None
    print(f"Beginning with {found[-1]} at {trainer.images_shown / 1000:g} kimg.")


def _ticks(trainer: Trainer, card: dict[str, Any], out: Path, progress: Progress, stop: list[int]) -> None:
    total = trainer.config.total_kimg * 1000
    won: list[float] = []
    while trainer.images_shown < total:
        tick = _tick(trainer, progress, stop)
        if tick is None:
            break
        progress.tick(tick)
        _check_finite(trainer, tick)
        won = _check_not_won(tick, won)
        # What may be the end is not saved: a later start shall be able to see the same.
        if trainer.team.is_main and not won:
            _save(trainer, card, out)
    if stop and trainer.images_shown < total:
        saved = checkpoint.present(out)
        kept = f"saved in {saved[-1].name}" if saved else "before anything was worth saving"
        print(f"Stopped at {trainer.images_shown / 1000:g} kimg, {kept}. Run the same command to go on.")
        raise KeyboardInterrupt


def _tick(trainer: Trainer, progress: Progress, stop: list[int]) -> Tick | None:
    """Steps up to the next tick's boundary or a stop signal; None if there were none."""
    config = trainer.config
    first, started = trainer.images_shown, time.perf_counter()
    tick_images = config.tick_kimg * 1000
    # Rounding may put the boundary where we are.
    boundary = max((math.floor(first / tick_images) + 1) * tick_images, first + 1)
    boundary = min(boundary, config.total_kimg * 1000)
    sums, steps = torch.zeros(len(STATS), dtype=torch.float64, device=trainer.device), 0
    while trainer.images_shown < boundary and not _stops(trainer, stop):
        sums += trainer.step()
        steps += 1
        progress.live(trainer.images_shown, trainer.images_shown - first, time.perf_counter() - started)
    if not steps:
        return None
    return Tick(
        kimg=trainer.images_shown / 1000,
        images_per_second=(trainer.images_shown - first) / (time.perf_counter() - started),
        lr=trainer.scheduled(config.lr),
        gamma=trainer.scheduled(config.gamma),
        augment_p=trainer.augment_p(),
        **dict(zip(STATS, (sums / steps).tolist())),
    )


def _stops(trainer: Trainer, stop: list[int]) -> bool:
    """Whether any process was asked to stop; then every one takes it as asked."""
    if trainer.team.any(bool(stop), trainer.device) and not stop:
        stop.append(signal.SIGTERM)
    return bool(stop)


def _check_finite(trainer: Trainer, tick: Tick) -> None:
    """Losses tell of the steps so far, weights of the last update."""
    figures = {name: getattr(tick, name) for name in STATS}
    broken = next((name for name, value in figures.items() if not math.isfinite(value)), None)
    if broken is None and not trainer.is_finite():
        broken = "a weight"
    if broken:
        raise TrainingDivergedError(
            f"{broken} is not finite at {tick.kimg:g} kimg ({_listed(figures)}). The last checkpoint is kept. {ADVICE}"
        )


def _check_not_won(tick: Tick, won: list[float]) -> list[float]:
    """The margins of the winning ticks so far, none if this is not one."""
    if tick.margin <= WON_MARGIN or tick.acc_pair <= 0.999 or (won and tick.margin < CATCHING_UP * won[-1]):
        return []
    won = [*won, tick.margin]
    if len(won) >= WON_TICKS:
        raise TrainingDivergedError(
            f"the discriminator has won outright at {tick.kimg:g} kimg: it tells every real image from its fake "
            f"(margins {', '.join(f'{margin:.3g}' for margin in won)}), and the generator is not catching up. "
            f"The last checkpoint is kept. {ADVICE}"
        )
    return won


def _listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in figures.items())


def _save(trainer: Trainer, card: dict[str, Any], out: Path) -> None:
    config, dataset = trainer.config, trainer.dataset
    snapshot(trainer.ema, dataset, config.z_dim, out / run_dir.GRIDS / f"{trainer.images_shown:012d}.png")
    if config.codes and dataset.images.dtype == np.uint8:
        labels = len(dataset.class_names)
        strips(trainer.ema, config.z_dim, labels, config.codes, out / run_dir.CODES)
    state = {
        "trainer": trainer.state(),
        "generator": generator_config(config, dataset).model_dump(mode="json"),
        "data": card,
    }
    checkpoint.save(out, trainer.images_shown, state)


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """A list that a first SIGINT or SIGTERM fills, so that the loop stops between two steps."""
    received: list[int] = []
    before = {s: signal.signal(s, lambda n, _: received.append(n)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
