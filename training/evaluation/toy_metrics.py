"""Evaluates runs of the toy presets, whose distributions are known exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import images
from training.config_files import read_gate
from training.data.toys import CENTRES, MODE_SD, as_points, modes_kept, toy1d, toy25
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.metrics import Features
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.report import Report
from training.evaluation.sample_grids import Picture
from training.evaluation.triangle_metrics import (
    EVALUATION,
    draw_test_triangles,
    generate_images,
    measure_precision,
    measure_recall,
)
from training.gate import check_gate
from training.metric_results import Measurement, MetricResult, try_measure
from training.runs.tick_grids import generate_samples, plot_density
from training.runs.trained_run import TrainedRun

# Of the picture of triangles.
COLUMNS, ROWS = 16, 8


class _Findings(NamedTuple):
    """What was measured, of how much in words, and a picture of it."""

    metrics: list[MetricResult]
    measured: str
    picture: Picture


def evaluate_toy(run: TrainedRun, protocol: Protocol = STANDARD) -> EvaluationResult:
    """Measure a run of a toy preset against its own distribution."""
    findings = _examine_triangles(run) if run.config.data.kind == "triangles" else _examine_points(run, protocol)
    report = Report(
        title=run.title,
        kimg=run.kimg,
        protocol=protocol,
        machine=findings.measured,
        metrics=tuple(findings.metrics),
        gate=check_gate(findings.metrics, read_gate(run.config.model_dump())),
    )
    return EvaluationResult(report, [findings.picture])


def _examine_points(run: TrainedRun, protocol: Protocol) -> _Findings:
    network = run.network_config
    is_one_dimensional = run.config.data.kind == "toy1d"
    real: Features = as_points(toy1d() if is_one_dimensional else toy25())
    samples = generate_samples(run.generator, network.z_dim, network.num_classes, protocol.toy_points)
    points: Features = samples.flatten(1).numpy()
    metrics = measure_moments(points, real) if is_one_dimensional else measure_modes(points, real)
    caption = "Above: the data. Below: the generator's points."
    picture = _draw_picture("Points", "Density", caption, plot_density(points, real))
    return _Findings(metrics, f"{len(points):,} points of seed 0", picture)


def _examine_triangles(run: TrainedRun) -> _Findings:
    z_dim, sizes = run.network_config.z_dim, EVALUATION
    real = draw_test_triangles(sizes.triangles)
    generated = generate_images(run.generator, z_dim, sizes.images)
    # What the drawn triangles reach by the same descents is the best for both.
    best = measure_precision(real)
    metrics = [
        MetricResult(name="exact_precision", value=measure_precision(generated), real_baseline=best),
        MetricResult(
            name="exact_recall", value=measure_recall(real, run.generator, z_dim, sizes.starts), real_baseline=best
        ),
    ]
    shown = np.concatenate([part[: COLUMNS * ROWS // 2] for part in (real, generated)])
    caption = "Above: the data. Below: what the generator makes."
    picture = _draw_picture("Images", "Triangles", caption, images.grid(shown, COLUMNS))
    return _Findings(metrics, f"{sizes.images:,} images of seed 0 and {sizes.triangles:,} triangles", picture)


def _draw_picture(section: str, title: str, caption: str, pixels: NDArray[np.uint8]) -> Picture:
    return Picture(section, title, caption, images.encode(pixels, "image/png"), pixels.shape[1])


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
