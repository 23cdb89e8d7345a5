"""Training learns: the two toy presets reproduce the distributions of their data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import toy_recording
from models.network_config import GeneratorConfig
from models.networks import build_generator
from training.config_files import load_preset
from training.data.dataset import Dataset
from training.data.toys import toy1d, toy25
from training.evaluation.toy_metrics import evaluate_toy
from training.runs import checkpoint
from training.runs.loop import run
from training.runs.tick_grids import generate_samples
from training.runs.trained_run import load_latest

SAMPLES = 20_000


def train_and_sample(preset: str, dataset: Dataset, out: Path) -> NDArray[np.float32]:
    """Return samples of the finished run's averaged generator: float32 (SAMPLES, dim)."""
    # A tick writes a grid, a checkpoint and a frame of the lab, and changes nothing of what is learnt.
    run(load_preset(preset, ("tick_kimg=50",)), dataset, out, "cpu", f"ganmint train --preset {preset}")
    state = checkpoint.load(checkpoint.list_paths(out)[-1])
    config = GeneratorConfig.model_validate(state["generator"])
    averaged = build_generator(config)
    averaged.load_state_dict(state["trainer"]["ema"])
    samples: NDArray[np.float32] = (
        generate_samples(averaged, config.z_dim, config.num_classes, SAMPLES).flatten(1).numpy()
    )
    return samples


@pytest.mark.slow
def test_toy1d_learns_mean_and_standard_deviation(tmp_path: Path) -> None:
    samples = train_and_sample("toy1d", toy1d(), tmp_path / "run")
    assert samples.mean() == pytest.approx(4.0, rel=0.05)
    assert samples.std() == pytest.approx(1.25, rel=0.05)
    assert evaluate_toy(load_latest(tmp_path / "run")).report.gate.passed


@pytest.mark.slow
def test_toy25_learns_every_mode(tmp_path: Path) -> None:
    samples = train_and_sample("toy25", toy25(), tmp_path / "run")
    centres = np.clip(samples.round(), -2, 2)
    near = np.linalg.norm(samples - centres, axis=1) < 0.2
    modes, counts = np.unique(centres[near], axis=0, return_counts=True)
    assert len(modes) == 25
    assert counts.min() >= 0.01 * SAMPLES
    assert near.mean() >= 0.8
    report = evaluate_toy(load_latest(tmp_path / "run")).report
    assert report.gate.passed
    assert [figure.value for figure in report.metrics] == [25, pytest.approx(near.mean())]
    recorded = toy_recording.read(tmp_path / "run" / toy_recording.FILE_NAME).ticks[-1].values
    assert recorded["modes"] == 25
    assert recorded["on_a_mode"] == pytest.approx(near.mean(), rel=0.02)
