"""Evaluates runs of the toy presets, whose distributions are known exactly."""

from __future__ import annotations

import numpy as np

from models import images
from training.config_files import read_gate
from training.data.toys import CENTRES, MODE_SD, as_points, modes_kept, toy1d, toy25
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.metrics import Features
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.report import Report
from training.evaluation.sample_grids import Picture
from training.gate import check_gate
from training.metric_results import Measurement, MetricResult, try_measure
from training.runs.tick_grids import generate_samples, plot_density
from training.runs.trained_run import TrainedRun


def evaluate_toy(run: TrainedRun, protocol: Protocol = STANDARD) -> EvaluationResult:
    """Measure a run of preset toy1d or toy25 against its own distribution."""
    network = run.network_config
    is_one_dimensional = network.shape[0] == 1
    dataset = toy1d() if is_one_dimensional else toy25()
    samples = generate_samples(run.generator, network.z_dim, network.num_classes, protocol.toy_points)
    points: Features = samples.flatten(1).numpy()
    real: Features = as_points(dataset)
    metrics = measure_moments(points, real) if is_one_dimensional else measure_modes(points, real)
    png = images.encode(plot_density(points, real), "image/png", "evaluation report")
    report = Report(
        title=f"{run.path} at {run.kimg:g} kimg",
        kimg=run.kimg,
        protocol=protocol,
        machine=f"{len(points):,} points of seed 0",
        metrics=tuple(metrics),
        gate=check_gate(metrics, read_gate(run.config.model_dump())),
    )
    picture = Picture("Points", "Density", "Above: the data. Below: the generator's points.", png, 128)
    return EvaluationResult(report, [picture])


def measure_moments(points: Features, real: Features) -> list[MetricResult]:
    """Return the relative errors of the mean and of the standard deviation."""
    mean_error = abs(np.mean(points) / np.mean(real) - 1.0)
    sd_error = abs(np.std(points) / np.std(real) - 1.0)
    return [
        MetricResult(name="mean_error", value=float(mean_error)),
        MetricResult(name="sd_error", value=float(sd_error)),
    ]


def measure_modes(points: Features, real: Features) -> list[MetricResult]:
    """Return how many modes the points cover, and the share of points on one; both float32 (n, 2)."""
    results = []
    for index, name in enumerate(("modes", "on_a_mode")):
        value = _measure_modes(points, index)
        baseline = _measure_modes(real[: len(points)], index)
        results.append(MetricResult(name=name, value=value.value, problem=value.problem, real_baseline=baseline.value))
    return results


def _measure_modes(points: Features, index: int) -> Measurement:
    return try_measure(lambda: float(modes_kept(points, CENTRES, MODE_SD)[index]))
