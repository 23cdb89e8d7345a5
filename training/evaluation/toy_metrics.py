"""The toy distributions: whether a run has learned one.

Knows: what the trainer's toys are, and what is measured of each. Does not know: images.
"""

from __future__ import annotations

import itertools

import numpy as np

from models import images
from training.config import thresholds
from training.data.dataset import toy1d, toy25
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.metrics import Features, modes_kept
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.report import Report
from training.evaluation.sample_grids import Picture
from training.gate import check_gate
from training.metric_results import Measurement, MetricResult, try_measure
from training.runs.snapshots import generate_samples, plot_density
from training.runs.trained_run import TrainedRun

CENTRES = np.array(list(itertools.product(range(-2, 3), repeat=2)), np.float32)
MODE_SD = 0.05


def evaluate_toy(found: TrainedRun, protocol: Protocol = STANDARD) -> EvaluationResult:
    """Measure a run of preset toy1d or toy25 against its own distribution."""
    network = found.network_config
    real = toy1d() if network.shape[0] == 1 else toy25()
    samples = generate_samples(found.generator, network.z_dim, network.labels, protocol.toy_points)
    points: Features = samples.flatten(1).numpy()
    truth: Features = real.images.reshape(len(real), -1).astype(np.float32)
    figures = _line(points, truth) if network.shape[0] == 1 else grid_figures(points, truth)
    picture = images.encode(plot_density(points, truth), "image/png", "evaluation report")
    report = Report(
        subject=f"{found.path} at {found.kimg:g} kimg",
        protocol=protocol,
        machine=f"{len(points):,} points of seed 0",
        figures=tuple(figures),
        verdict=check_gate(figures, thresholds(found.config.model_dump())),
    )
    caption = "Above: the data. Below: what the generator makes."
    return EvaluationResult(report, [Picture("Points", "Density", caption, picture, 128)])


def _line(points: Features, truth: Features) -> list[MetricResult]:
    """Relative errors of the mean and of the standard deviation."""
    mean, sd = (abs(f(points) / f(truth) - 1.0) for f in (np.mean, np.std))
    return [MetricResult(name="mean_error", value=float(mean)), MetricResult(name="sd_error", value=float(sd))]


def grid_figures(points: Features, truth: Features) -> list[MetricResult]:
    """The modes kept, and the share of points on one."""
    figures = []
    for k, name in enumerate(("modes", "on_a_mode")):
        value, floor = (_kept(p, k) for p in (points, truth[: len(points)]))
        figures.append(MetricResult(name=name, value=value.value, problem=value.problem, real_baseline=floor.value))
    return figures


def _kept(points: Features, which: int) -> Measurement:
    return try_measure(lambda: float(modes_kept(points, CENTRES, MODE_SD)[which]))
