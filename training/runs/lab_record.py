"""Record how a toy run learns: at every tick what it makes, what D thinks of it, and how well it does."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from models import toy_recording
from models.toy_recording import RecordedTick, Recording, Sheet, View, encode_shares
from training.data import triangles
from training.data.toys import CENTRES, MODE_SD, as_points, modes_kept
from training.evaluation import triangle_metrics
from training.gan.trainer import Trainer
from training.runs.loggers import Tick

POINTS = 320
# Cells a side of the lattices: of D over a plane, of D along a line, and of latents.
PLANE_CELLS = 22
LINE_CELLS = 96
LATENT_CELLS = 15
# The view goes beyond the real points by this share of their range on each side.
MARGIN = 0.2
# Of a sheet of pictures: one row is real.
COLUMNS = 5
GENERATED_ROWS = 4
# Pictures of each kind that D sees at once, because it may compare those of a group.
JUDGED = 32
RECORDED = ("loss_G", "loss_D", "acc_real", "acc_fake", "acc_pair", "margin", "r1", "r2")

Points = NDArray[np.float32]
Pictures = NDArray[np.uint8]


def record_tick(trainer: Trainer, tick: Tick, samples: torch.Tensor, path: Path) -> None:
    """Add a tick to a run's recording, and begin one where there is none.

    Args: samples, of the averaged generator, float32 (n, C, H, W) on the CPU.
    Raises: FileError: there is one that is damaged.
    """
    recording = toy_recording.read(path) if path.exists() else _begin(trainer)
    if isinstance(recording.view, Sheet):
        observed = _observe_pictures(trainer, tick, recording.view)
    else:
        observed = _observe_points(trainer, tick, samples.flatten(1).numpy(), recording.view)
    toy_recording.write(path, recording.add(observed))


def _begin(trainer: Trainer) -> Recording:
    config = trainer.config
    title = f"{config.preset or config.data.name}, {config.objective} loss"
    if trainer.dataset.has_images:
        sheet = Sheet(side=triangles.SIDE, columns=COLUMNS, near=triangle_metrics.NEAR)
        return Recording(title=title, view=sheet, real=sheet.encode(_real_pictures(trainer, COLUMNS)))
    real = as_points(trainer.dataset)
    low, high = float(real.min()), float(real.max())
    margin = MARGIN * (high - low)
    view = View(low=low - margin, high=high + margin, dimensions=1 if real.shape[1] == 1 else 2)
    return Recording(title=title, view=view, real=view.encode(real[:POINTS]))


def _observe_points(trainer: Trainer, tick: Tick, points: Points, view: View) -> RecordedTick:
    return RecordedTick(
        kimg=tick.kimg,
        points=view.encode(points[:POINTS]),
        discriminator=encode_shares(_scaled(_judge(trainer, _lattice(view)[:, :, None, None]))),
        manifold=view.encode(_map_latents(trainer)) if trainer.config.z_dim == view.dimensions == 2 else "",
        values=_round(tick, _measure_points(points)),
    )


def _observe_pictures(trainer: Trainer, tick: Tick, sheet: Sheet) -> RecordedTick:
    z_dim, sizes, generator = trainer.config.z_dim, triangle_metrics.TICK, trainer.learners.ema
    generated = triangle_metrics.generate_images(generator, z_dim, sizes.images)
    shown = generated[: COLUMNS * GENERATED_ROWS]
    nearest = triangle_metrics.find_nearest_triangles(shown)
    places = triangles.find_corners(nearest.parameters) / sheet.side * [1, -1] + 0.5
    opinions = [
        _judge_pictures(trainer, pictures[:JUDGED]) for pictures in (_real_pictures(trainer, JUDGED), generated)
    ]
    test = triangle_metrics.draw_test_triangles(sizes.triangles)
    scores = {
        "exact_precision": triangle_metrics.measure_precision(generated),
        "exact_recall": triangle_metrics.measure_recall(test, generator, z_dim, sizes.starts),
    }
    return RecordedTick(
        kimg=tick.kimg,
        points=sheet.encode(shown),
        discriminator=encode_shares(_scaled(np.concatenate([opinions[0][:COLUMNS], opinions[1][: len(shown)]]))),
        manifold=encode_shares(places),
        distances=encode_shares(nearest.distances / (2 * sheet.near)),
        values=_round(tick, scores),
    )


def _real_pictures(trainer: Trainer, count: int) -> Pictures:
    return trainer.dataset.images[:count].astype(np.uint8)


def _judge_pictures(trainer: Trainer, pictures: Pictures) -> Points:
    return _judge(trainer, pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1))


def _round(tick: Tick, scores: dict[str, float]) -> dict[str, float | None]:
    """Return what is recorded of a tick, and the scores, with four digits."""
    losses = dataclasses.asdict(tick)
    values = {name: losses[name] for name in RECORDED} | scores
    return {name: float(f"{value:.4g}") if math.isfinite(value) else None for name, value in values.items()}


def _measure_points(points: Points) -> dict[str, float]:
    """Return the metrics of the presets' gates, of fewer points than an evaluation has."""
    if points.shape[1] == 1:
        return {"mean": float(points.mean()), "sd": float(points.std())}
    if not np.isfinite(points).all():
        return {}
    modes, on_a_mode = modes_kept(points, CENTRES, MODE_SD)
    return {"modes": modes, "on_a_mode": on_a_mode}


def _lattice(view: View) -> Points:
    """Return the places over the view where D is asked, float32 (cells, dimensions)."""
    cells = PLANE_CELLS if view.dimensions == 2 else LINE_CELLS
    middles = view.low + (np.arange(cells) + 0.5) / cells * (view.high - view.low)
    axes = np.meshgrid(middles, middles) if view.dimensions == 2 else [middles]
    return np.stack([axis.ravel() for axis in axes], axis=1).astype(np.float32)


def _judge(trainer: Trainer, samples: Points) -> Points:
    """Return D's logits of samples, float32 (n, C, H, W)."""
    # The last group is filled with the first samples.
    unit = trainer.config.batch_unit
    whole = np.resize(samples, (math.ceil(len(samples) / unit) * unit, *samples.shape[1:]))
    labels = torch.zeros(len(whole), dtype=torch.int64, device=trainer.device)
    with torch.no_grad():
        judgement = trainer.learners.discriminator.network(torch.from_numpy(whole).to(trainer.device), labels)
    logits: Points = judgement.logits.cpu().numpy()
    return logits[: len(samples)]


def _scaled(logits: Points) -> Points:
    low, high = logits.min(), logits.max()
    return (logits - low) / (high - low) if high > low else np.full_like(logits, 0.5)


def _map_latents(trainer: Trainer) -> Points:
    """Return where the averaged generator takes the lattice of latents, float32 (LATENT_CELLS ** 2, 2)."""
    quantiles = [NormalDist().inv_cdf((cell + 0.5) / LATENT_CELLS) for cell in range(LATENT_CELLS)]
    latents = torch.cartesian_prod(torch.tensor(quantiles), torch.tensor(quantiles)).to(trainer.device)
    weights = torch.zeros(len(latents), trainer.dataset.num_classes, device=trainer.device)
    with torch.no_grad():
        places: Points = trainer.learners.ema(latents, weights).flatten(1).cpu().numpy()
    return places
