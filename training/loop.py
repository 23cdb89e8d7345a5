"""The training loop: from a configuration and data to a folder with checkpoints.

Knows: the run folder (config.yaml, run.json, stats.jsonl, grids/, checkpoints, TensorBoard events),
ticks, resuming, when to give up. Does not know: the mathematics of a step (training.trainer), how
progress is shown (training.progress).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from models.errors import CheckpointError, FileError, InputError, TrainingDivergedError
from models.files import write_atomically
from training import checkpoint
from training.config import Config, dump_config, load_config
from training.data import Dataset
from training.pictures import snapshot
from training.progress import Progress, Tick
from training.trainer import STATS, Trainer, generator_config

# A discriminator that separates every pair by this margin for this many ticks has won: G's gradient is gone.
WON_MARGIN = 20.0
WON_TICKS = 3


def run(config: Config, dataset: Dataset, out: Path, device: str, command: str) -> None:
    """Train until `total_kimg`, resuming whatever `out` already holds.

    Args:
        config: the configuration; must equal the saved one when resuming, but for total_kimg.
        dataset: the training data; must be the same when resuming.
        out: the run folder, made if missing.
        device: torch device name.
        command: the command line that starts the run, kept for the model's card.
    Raises:
        InputError, FileError, CheckpointError: out cannot be used; nothing in it was changed.
        TrainingDivergedError: the run cannot go on; the last checkpoint stays.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM after saving a checkpoint.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(device == "cpu")
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out), _stop_requests() as stop:
        trainer = _prepare(config, dataset, out, device, command)
        if trainer.images_shown >= config.total_kimg * 1000:
            print(f"{out} is already trained to {trainer.images_shown / 1000:g} kimg; nothing to do.")
            return
        with Progress(out, config) as progress:
            _ticks(trainer, out, progress, stop)


def describe_data(config: Config, dataset: Dataset) -> dict[str, Any]:
    """What checkpoint and card say of the data."""
    return {
        "name": config.data.name,
        "digest": dataset.digest,
        "images": len(dataset),
        "licence": config.data.licence,
        "attribution": config.data.attribution,
        "label_names": list(dataset.label_names),
    }


def _ticks(trainer: Trainer, out: Path, progress: Progress, stop: list[int]) -> None:
    config = trainer.config
    tick_images, total = config.tick_kimg * 1000, config.total_kimg * 1000
    won = 0
    while trainer.images_shown < total and not stop:
        first, started = trainer.images_shown, time.perf_counter()
        sums = torch.zeros(len(STATS), dtype=torch.float64, device=trainer.device)
        steps, boundary = 0, min((math.floor(first / tick_images) + 1) * tick_images, total)
        while trainer.images_shown < boundary and not stop:
            sums += trainer.step()
            steps += 1
            progress.live(trainer.images_shown, trainer.images_shown - first, time.perf_counter() - started)
        means = dict(zip(STATS, (sums / steps).tolist()))
        tick = Tick(
            kimg=trainer.images_shown / 1000,
            images_per_second=(trainer.images_shown - first) / (time.perf_counter() - started),
            lr=trainer.scheduled(config.lr),
            gamma=trainer.scheduled(config.gamma),
            **means,
        )
        progress.tick(tick)
        if not all(math.isfinite(value) for value in means.values()):
            raise TrainingDivergedError(
                f"a loss is not finite at {tick.kimg:g} kimg ({_figures(means)}). The last checkpoint is "
                "kept. Lower lr or raise gamma, in a new --out folder."
            )
        won = won + 1 if tick.margin > WON_MARGIN and tick.acc_pair > 0.999 else 0
        if won >= WON_TICKS:
            raise TrainingDivergedError(
                f"the discriminator has won outright at {tick.kimg:g} kimg ({_figures(means)}): the "
                "generator no longer learns. Raise gamma or lower lr, in a new --out folder."
            )
        snapshot(trainer.ema, trainer.dataset, config.z_dim, out / "grids" / f"{trainer.images_shown:012d}.png")
        checkpoint.save(out, trainer.images_shown, _full_state(trainer))
    if stop:
        print(f"Stopped at {trainer.images_shown / 1000:g} kimg, saved. Run the same command to go on.")
        raise KeyboardInterrupt


def _figures(means: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in means.items())


def _full_state(trainer: Trainer) -> dict[str, Any]:
    config, dataset = trainer.config, trainer.dataset
    return {
        "trainer": trainer.state(),
        "generator": generator_config(config, dataset).model_dump(mode="json"),
        "data": describe_data(config, dataset),
    }


def _prepare(config: Config, dataset: Dataset, out: Path, device: str, command: str) -> Trainer:
    """A fresh trainer, or one that continues the run in `out`."""
    saved = out / "config.yaml"
    if not saved.exists():
        foreign = [p.name for p in out.iterdir() if p.name != ".lock"]
        if foreign:
            raise FileError(out, f"is not empty and holds no run (found {foreign[0]}); choose another --out")
        trainer = _build(config, dataset, device)
        write_atomically(out / "run.json", json.dumps(_origin(command, device), indent=2).encode() + b"\n")
        write_atomically(saved, dump_config(config).encode())
        return trainer
    _same_run(config, load_config(saved), out)
    trainer = _build(config, dataset, device)
    found = checkpoint.present(out)
    if found:
        state = checkpoint.load(found[-1], device)
        if state["data"]["digest"] != dataset.digest:
            raise CheckpointError(
                found[-1], f"was trained on other data ({state['data']['name']}); give that --data, or a new --out"
            )
        trainer.load_state(state["trainer"])
        print(f"Resuming from {found[-1]} at {trainer.images_shown / 1000:g} kimg.")
    _forget_after(out / "stats.jsonl", trainer.images_shown / 1000)
    write_atomically(saved, dump_config(config).encode())
    return trainer


def _build(config: Config, dataset: Dataset, device: str) -> Trainer:
    try:
        return Trainer(config, dataset, device)
    except ValueError as error:
        reason = str(error).splitlines()
        detail = next((line.strip() for line in reason if "Value error, " in line), reason[0])
        raise InputError(detail.split("Value error, ")[-1].split(" [type=")[0], "--data") from None


def _same_run(config: Config, saved: Config, out: Path) -> None:
    ours, theirs = (_flat(c.model_dump(mode="json", exclude={"total_kimg"})) for c in (config, saved))
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{out} holds a run with {key}={theirs.get(key)}, not {ours.get(key)}; "
                "give the same settings to resume it, or another --out",
                key,
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _forget_after(stats: Path, kimg: float) -> None:
    """Drop the lines of ticks whose checkpoint never reached the disk."""
    if not stats.exists():
        return
    kept = []
    for line in stats.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            if json.loads(line)["kimg"] <= kimg:
                kept.append(line + "\n")
    write_atomically(stats, "".join(kept).encode())


def _origin(command: str, device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine() + " CPU"
    return {"command": command, "torch": torch.__version__, "device": name, "python": platform.python_version()}


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(out, "another training run is writing here; wait for it or choose another --out") from None
        yield


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
