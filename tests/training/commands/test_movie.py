"""The command movie: a training's grids as a video."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import FileError, InputError
from tests.training.commands.in_process import ganmint
from training.runs.timelapse import encode_movie


def read_frames(content: bytes) -> tuple[list[Image.Image], list[int]]:
    with Image.open(io.BytesIO(content)) as picture:
        frames, durations = [], []
        for k in range(getattr(picture, "n_frames", 1)):
            picture.seek(k)
            frames.append(picture.convert("RGB"))
            durations.append(int(picture.info["duration"]))
        return frames, durations


def test_a_movie_shows_the_grids_in_order_and_the_last_one_longer(finished: Path) -> None:
    content, count = encode_movie(finished, fps=10, max_seconds=60)

    shown, durations = read_frames(content)
    assert count == 10
    # The encoder makes one frame of two that look alike, for as long as both.
    assert 2 <= len(shown) <= 10
    assert sum(durations) == 9 * 100 + 2500 and durations[-1] >= 2500
    # Above the caption, the first frame is the first grid, except for compression.
    with Image.open(sorted((finished / "grids").glob("*.png"))[0]) as grid:
        expected = grid.convert("RGB").resize((grid.width * 9, grid.height * 9), Image.Resampling.NEAREST)
    assert shown[0].width == expected.width == 648 and shown[0].height > expected.height
    difference = np.asarray(shown[0].crop((0, 0, *expected.size)), float) - np.asarray(expected, float)
    assert np.abs(difference).mean() < 12


def test_a_movie_is_marked_as_synthetic_and_reproducible(finished: Path) -> None:
    content, _ = encode_movie(finished, fps=10, max_seconds=60)

    assert b"trainedAlgorithmicMedia" in content
    assert encode_movie(finished, fps=10, max_seconds=60)[0] == content


def test_a_long_training_is_subsampled_and_keeps_its_end(finished: Path) -> None:
    content, count = encode_movie(finished, fps=2, max_seconds=2)
    every, _ = encode_movie(finished, fps=10, max_seconds=60)

    assert count == 4
    difference = np.asarray(read_frames(content)[0][-1], float) - np.asarray(read_frames(every)[0][-1], float)
    assert np.abs(difference).mean() < 4


def test_a_run_with_too_few_grids_has_no_movie(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    for path in sorted((tmp_path / "run" / "grids").glob("*.png"))[1:]:
        path.unlink()

    with pytest.raises(FileError, match="has 1 grids so far, and a movie needs two"):
        encode_movie(tmp_path / "run", 10, 60)
    with pytest.raises(FileError, match="holds no run"):
        encode_movie(tmp_path / "nosuch", 10, 60)


def test_a_damaged_grid_is_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    damaged = sorted((tmp_path / "run" / "grids").glob("*.png"))[3]
    damaged.write_bytes(b"no image")

    with pytest.raises(FileError) as caught:
        encode_movie(tmp_path / "run", 10, 60)

    assert caught.value.path == damaged


def test_the_movie_command_writes_into_the_run_or_to_out(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")

    default, explicit = (
        ganmint("movie", tmp_path / "run"),
        ganmint("movie", finished, "--out", tmp_path / "a" / "m.webp"),
    )
    refused = ganmint("movie", finished, "--out", tmp_path / "m.mp4")

    assert re.fullmatch(rf"{tmp_path}/run/movie.webp: 10 frames, \d+ kB\n", default.output)
    assert explicit.exit_code == 0 and (tmp_path / "a" / "m.webp").exists()
    assert isinstance(refused.exception, InputError) and not (tmp_path / "m.mp4").exists()
