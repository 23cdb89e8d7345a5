import base64
from pathlib import Path

import numpy as np
import pytest

from models import toy_recording
from training.config_files import load_preset
from training.data.toys import TOYS
from training.runs.lab_record import LATENT_CELLS, LINE_CELLS, PLANE_CELLS, POINTS
from training.runs.loop import run

LENGTH = ("total_kimg=1", "tick_kimg=0.512")


@pytest.mark.parametrize(
    ("preset", "view_cells", "latents"), [("toy25", PLANE_CELLS**2, LATENT_CELLS**2), ("toy1d", LINE_CELLS, 0)]
)
def test_every_tick_is_recorded_once(tmp_path: Path, preset: str, view_cells: int, latents: int) -> None:
    config, data = load_preset(preset, LENGTH), TOYS[preset]()

    run(config, data, tmp_path, "cpu", "")
    run(config.model_copy(update={"total_kimg": 1.5}), data, tmp_path, "cpu", "")

    recording = toy_recording.read(tmp_path / toy_recording.FILE_NAME)
    dimensions = recording.view.dimensions
    assert [tick.kimg for tick in recording.ticks] == [0.512, 1.024, 1.536]
    for tick in recording.ticks:
        sizes = [len(base64.b64decode(part)) for part in (tick.points, tick.discriminator, tick.manifold)]
        assert sizes == [POINTS * dimensions, view_cells, latents * dimensions]
        logits = base64.b64decode(tick.discriminator)
        assert (min(logits), max(logits)) == (0, 255)
    assert recording.ticks[0].points != recording.ticks[1].points


def test_the_recorded_data_lie_where_they_lie(tmp_path: Path) -> None:
    run(load_preset("toy25", LENGTH), TOYS["toy25"](), tmp_path, "cpu", "")

    recording = toy_recording.read(tmp_path / toy_recording.FILE_NAME)
    shares = np.frombuffer(base64.b64decode(recording.real), np.uint8).reshape(-1, 2) / 255
    points = recording.view.low + shares * (recording.view.high - recording.view.low)
    assert np.abs(points - points.round()).max() < 0.25
    assert set(np.unique(points.round())) == {-2, -1, 0, 1, 2}
