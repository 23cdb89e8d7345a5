"""The evaluation of toy runs that make images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import InputError
from training.config_files import load_preset
from training.data import triangles
from training.data.dataset import Dataset
from training.evaluation import toy_metrics, triangle_metrics
from training.evaluation.triangle_metrics import Sizes
from training.publish import PublishOptions, publish
from training.runs import loop
from training.runs.trained_run import load_latest

SIZES = Sizes(images=20, triangles=8, starts=16)
TINY = ("batch=16", "total_kimg=0.016", "generator.widths=[8,4,4,4]", "discriminator.widths=[8,4,4,4]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triangles") / "run"
    images = triangles.draw_images(np.random.RandomState(1), 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triangle_metrics, "TICK", SIZES)
        loop.run(load_preset("triangles", TINY), Dataset("triangles", images), folder, "cpu", "ganmint train")
    return folder


def test_a_run_of_triangles_is_measured_beside_drawn_ones(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_metrics, "EVALUATION", SIZES)

    result = toy_metrics.evaluate_toy(load_latest(run))

    found = {metric.name: (metric.value, metric.real_baseline) for metric in result.report.metrics}
    assert found == {"exact_precision": (0, 1), "exact_recall": (0, 1)}
    assert len(result.report.gate.failures) == 2
    assert result.pictures[0].width == 32 * toy_metrics.COLUMNS


def test_its_data_cannot_be_given(run: Path) -> None:
    with pytest.raises(InputError, match="made its own data; leave --data out"):
        publish(run, PublishOptions(name="triangles", data=run))
