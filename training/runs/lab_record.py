"""Record how a toy run learns: at every tick its points, what D thinks of the view, and how well it does."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from models import toy_recording
from models.toy_recording import RecordedTick, Recording, View, encode_shares
from training.data.toys import CENTRES, MODE_SD, as_points, modes_kept
from training.gan.trainer import Trainer
from training.runs.loggers import Tick

POINTS = 320
# Cells a side of the lattices: of D over a plane, of D along a line, and of latents.
PLANE_CELLS = 22
LINE_CELLS = 96
LATENT_CELLS = 15
# The view goes beyond the real points by this share of their range on each side.
MARGIN = 0.2
RECORDED = ("loss_G", "loss_D", "acc_real", "acc_fake", "acc_pair", "margin", "r1", "r2")

Points = NDArray[np.float32]


def record_tick(trainer: Trainer, tick: Tick, points: Points, path: Path) -> None:
    """Add a tick to a run's recording, and begin one where there is none.

    Args: points, of the averaged generator, float32 (n, dimensions).
    Raises: FileError: there is one that is damaged.
    """
    recording = toy_recording.read(path) if path.exists() else _begin(trainer)
    toy_recording.write(path, recording.add(_observe(trainer, tick, points, recording.view)))


def _begin(trainer: Trainer) -> Recording:
    config, real = trainer.config, as_points(trainer.dataset)
    low, high = float(real.min()), float(real.max())
    margin = MARGIN * (high - low)
    view = View(low=low - margin, high=high + margin, dimensions=1 if real.shape[1] == 1 else 2)
    title = f"{config.preset or config.data.name}, {config.objective} loss"
    return Recording(title=title, view=view, real=view.encode(real[:POINTS]))


def _observe(trainer: Trainer, tick: Tick, points: Points, view: View) -> RecordedTick:
    losses = dataclasses.asdict(tick)
    values = {name: losses[name] for name in RECORDED} | _measure(points)
    return RecordedTick(
        kimg=tick.kimg,
        points=view.encode(points[:POINTS]),
        discriminator=encode_shares(_scaled(_judge(trainer, view))),
        manifold=view.encode(_map_latents(trainer)) if trainer.config.z_dim == view.dimensions == 2 else "",
        values={name: float(f"{value:.4g}") if math.isfinite(value) else None for name, value in values.items()},
    )


def _measure(points: Points) -> dict[str, float]:
    """Return the metrics of the presets' gates, of fewer points than an evaluation has."""
    if points.shape[1] == 1:
        return {"mean": float(points.mean()), "sd": float(points.std())}
    if not np.isfinite(points).all():
        return {}
    modes, on_a_mode = modes_kept(points, CENTRES, MODE_SD)
    return {"modes": modes, "on_a_mode": on_a_mode}


def _judge(trainer: Trainer, view: View) -> Points:
    """Return D's logits over the view, float32 (cells,)."""
    cells = PLANE_CELLS if view.dimensions == 2 else LINE_CELLS
    middles = view.low + (np.arange(cells) + 0.5) / cells * (view.high - view.low)
    axes = np.meshgrid(middles, middles) if view.dimensions == 2 else [middles]
    places = np.stack([axis.ravel() for axis in axes], axis=1).astype(np.float32)
    labels = torch.zeros(len(places), dtype=torch.int64, device=trainer.device)
    samples = torch.from_numpy(places)[:, :, None, None].to(trainer.device)
    with torch.no_grad():
        logits: Points = trainer.learners.discriminator.network(samples, labels).logits.cpu().numpy()
    return logits


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
