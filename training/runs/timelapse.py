"""Make a video of a training from the grids of its ticks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models import images
from models.errors import FileError
from training.runs.run_dir import GRIDS_FOLDER, require_run

CAPTION_PIXELS = 28
# How long the last frame stays.
LAST_FRAME_MS = 2500
# Small grids are enlarged by a whole factor to about this width.
WIDTH_PIXELS = 640

Frame = NDArray[np.uint8]


class Movie(NamedTuple):
    """A video.

    Attributes:
        content: the bytes of an animated WebP, marked as synthetic.
        num_frames: how many grids it shows.
    """

    content: bytes
    num_frames: int


def encode_movie(run: Path, fps: float, max_seconds: float) -> Movie:
    """Encode the grids of a run, each with its kimg below it.

    Args:
        run: a run folder.
        fps: frames per second.
        max_seconds: if the grids do not fit, frames are left out evenly; the last one stays.
    Raises: FileError naming the folder or grid at fault.
    """
    require_run(run)
    paths = sorted(path for path in (run / GRIDS_FOLDER).glob("*.png") if path.stem.isdecimal())
    if len(paths) < 2:
        raise FileError(run, f"has {len(paths)} grids so far, and a movie needs two; train for a few more ticks")
    frames = [_frame(path, int(path.stem) / 1000) for path in _subsample(paths, max(2, round(fps * max_seconds)))]
    durations_ms = [round(1000 / fps)] * (len(frames) - 1) + [LAST_FRAME_MS]
    return Movie(images.encode_animation(frames, durations_ms), len(frames))


def _subsample(paths: list[Path], max_paths: int) -> list[Path]:
    rows = np.linspace(0, len(paths) - 1, min(max_paths, len(paths))).round().astype(int)
    return [paths[row] for row in rows]


def _frame(path: Path, kimg: float) -> Frame:
    try:
        with Image.open(path) as image:
            grid = image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise FileError(path, f"cannot be read ({error}); delete it to make the movie without it") from None
    factor = max(1, round(WIDTH_PIXELS / grid.width))
    grid = grid.resize((grid.width * factor, grid.height * factor), Image.Resampling.NEAREST)
    frame = Image.new("RGB", (grid.width, grid.height + CAPTION_PIXELS))
    frame.paste(grid)
    font = ImageFont.load_default(CAPTION_PIXELS - 12)
    ImageDraw.Draw(frame).text((8, grid.height + 4), f"{kimg:.1f} kimg", font=font, fill="white")
    return np.asarray(frame)
