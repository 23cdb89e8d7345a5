import base64
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import toy_recording
from models.toy_recording import Sheet, View
from training.config_files import load_preset
from training.data import triangles
from training.data.dataset import Dataset
from training.data.toys import TOYS
from training.evaluation import triangle_metrics
from training.runs.lab_record import COLUMNS, GENERATED_ROWS, LATENT_CELLS, LINE_CELLS, PLANE_CELLS, POINTS
from training.runs.loop import run

TINY = ("batch=16", "generator.widths=[8,4,4,4]", "discriminator.widths=[8,4,4,4]")
LENGTH = ("total_kimg=1", "tick_kimg=0.512")


@pytest.mark.parametrize(
    ("preset", "view_cells", "latents"), [("toy25", PLANE_CELLS**2, LATENT_CELLS**2), ("toy1d", LINE_CELLS, 0)]
)
def test_every_tick_is_recorded_once(tmp_path: Path, preset: str, view_cells: int, latents: int) -> None:
    config, data = load_preset(preset, LENGTH), TOYS[preset]()

    run(config, data, tmp_path, "cpu", "")
    run(config.model_copy(update={"total_kimg": 1.5}), data, tmp_path, "cpu", "")

    recording = toy_recording.read(tmp_path / toy_recording.FILE_NAME)
    assert isinstance(recording.view, View)
    dimensions = recording.view.dimensions
    assert [tick.kimg for tick in recording.ticks] == [0.512, 1.024, 1.536]
    for tick in recording.ticks:
        sizes = [len(base64.b64decode(part)) for part in (tick.points, tick.discriminator, tick.manifold)]
        assert sizes == [POINTS * dimensions, view_cells, latents * dimensions]
        logits = base64.b64decode(tick.discriminator)
        assert (min(logits), max(logits)) == (0, 255)
    assert recording.ticks[0].points != recording.ticks[1].points


@pytest.mark.parametrize("settings", [(), ("batch=36", "discriminator.minibatch_group=3")])
def test_of_triangles_the_pictures_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    monkeypatch.setattr(triangle_metrics, "TICK", triangle_metrics.Sizes(images=40, triangles=8, starts=16))
    config = load_preset("triangles", ("total_kimg=0.128", "tick_kimg=0.064", *TINY, *settings))

    run(config, Dataset("triangles", triangles.draw_images(np.random.RandomState(1), 64)), tmp_path, "cpu", "")

    recording = toy_recording.read(tmp_path / toy_recording.FILE_NAME)
    assert isinstance(recording.view, Sheet)
    assert open_png(recording.real).shape == (32, 160)
    for tick in recording.ticks:
        assert open_png(tick.points).shape == (32 * GENERATED_ROWS, 160)
        shown = COLUMNS * GENERATED_ROWS
        sizes = [len(base64.b64decode(part)) for part in (tick.discriminator, tick.manifold, tick.distances)]
        assert sizes == [COLUMNS + shown, 6 * shown, shown]
        # Nothing is a triangle yet.
        assert tick.values["exact_precision"] == 0
    assert recording.ticks[0].points != recording.ticks[1].points


def open_png(text: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_the_recorded_data_lie_where_they_lie(tmp_path: Path) -> None:
    run(load_preset("toy25", LENGTH), TOYS["toy25"](), tmp_path, "cpu", "")

    recording = toy_recording.read(tmp_path / toy_recording.FILE_NAME)
    assert isinstance(recording.view, View)
    shares = np.frombuffer(base64.b64decode(recording.real), np.uint8).reshape(-1, 2) / 255
    points = recording.view.low + shares * (recording.view.high - recording.view.low)
    assert np.abs(points - points.round()).max() < 0.25
    assert set(np.unique(points.round())) == {-2, -1, 0, 1, 2}
