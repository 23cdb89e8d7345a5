import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import toy_recording
from models.errors import FileError
from models.toy_recording import LEVELS, RecordedTick, Recording, Sheet, View


def tick(kimg: float, **values: float) -> RecordedTick:
    return RecordedTick(kimg=kimg, points="AAA=", discriminator="/w==", manifold="", values=dict(values))


VIEW = View(low=-3, high=3, dimensions=2)
RECORDING = Recording(title="toy25", view=VIEW, real="AAA=", ticks=(tick(1), tick(2)))


def test_positions_are_bytes_over_the_view_and_stay_in_it() -> None:
    points = np.array([[-3, 3], [0, -9]], np.float32)

    assert list(base64.b64decode(VIEW.encode(points))) == [0, 255, 128, 0]


def test_pictures_are_one_png_of_few_greys() -> None:
    pictures = np.random.RandomState(1).randint(0, 256, size=(6, 4, 4, 1)).astype(np.uint8)

    png = base64.b64decode(Sheet(side=4, columns=3, near=1).encode(pictures))

    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert pixels.shape == (8, 12)
    assert len(np.unique(pixels)) <= LEVELS
    assert np.abs(pixels[4:, 8:].astype(int) - pictures[5, ..., 0]).max() <= 255 / (LEVELS - 1) / 2 + 0.5


def test_a_resumed_run_takes_a_tick_again() -> None:
    again = RECORDING.add(tick(3)).add(tick(2, loss_G=1.0))

    assert [one.kimg for one in again.ticks] == [1, 2]
    assert again.ticks[-1].values == {"loss_G": 1.0}


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    toy_recording.write(tmp_path / "lab.json", RECORDING)

    assert toy_recording.read(tmp_path / "lab.json") == RECORDING


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no recording"),
        (b'{"title": "a"}', "view"),
        (RECORDING.model_dump_json().replace("/w==", "<i>").encode(), r"ticks\[0\].discriminator"),
        (RECORDING.model_dump_json().replace("ganmint-lab/1", "ganmint-lab/2").encode(), "format"),
    ],
)
def test_what_is_no_recording_is_refused_by_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "lab.json"
    path.write_bytes(content)

    with pytest.raises(FileError, match=words) as error:
        toy_recording.read(path)
    assert error.value.path == path


def test_a_missing_recording_says_which_runs_have_one(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="presets toy1d, toy25, triangles"):
        toy_recording.read(tmp_path / "lab.json")
