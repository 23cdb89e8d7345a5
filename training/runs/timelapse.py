"""A video of a training: the pictures that its ticks left, one after another.

Knows: which pictures are shown for how long, and how each says where it is. Does not know: files'
formats (models.images), training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models import images
from models.errors import FileError
from training.runs.run_dir import CONFIG, GRIDS

CAPTION_PIXELS = 28
LAST_MS = 2500
# Small grids are enlarged by a whole factor to about this width.
WIDTH_PIXELS = 640

Frame = NDArray[np.uint8]


def movie(run: Path, fps: float, longest_s: float) -> tuple[bytes, int]:
    """An animated WebP of a run's grids, each with its kimg below it.

    Args:
        run: a run folder.
        fps: pictures a second.
        longest_s: where there are more pictures than fit, they are thinned out evenly; the last stays.
    Returns: the file's bytes, marked as synthetic, and the number of pictures in it.
    Raises: FileError naming the folder or picture at fault.
    """
    if not (run / CONFIG).is_file():
        raise FileError(run, "holds no run (no config.yaml); give the --out folder of a ganmint train")
    paths = sorted(path for path in (run / GRIDS).glob("*.png") if path.stem.isdecimal())
    if len(paths) < 2:
        raise FileError(run, f"has {len(paths)} pictures yet, and a movie needs two; train on for some ticks")
    shown = _thinned(paths, max(2, round(fps * longest_s)))
    frames = [_frame(path, int(path.stem) / 1000) for path in shown]
    durations_ms = [round(1000 / fps)] * (len(frames) - 1) + [LAST_MS]
    return images.encode_animation(frames, durations_ms), len(frames)


def _thinned(paths: list[Path], most: int) -> list[Path]:
    chosen = np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)
    return [paths[k] for k in chosen]


def _frame(path: Path, kimg: float) -> Frame:
    try:
        with Image.open(path) as picture:
            grid = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise FileError(path, f"cannot be read ({error}); delete it, and the movie goes without") from None
    factor = max(1, round(WIDTH_PIXELS / grid.width))
    grid = grid.resize((grid.width * factor, grid.height * factor), Image.Resampling.NEAREST)
    frame = Image.new("RGB", (grid.width, grid.height + CAPTION_PIXELS))
    frame.paste(grid)
    font = ImageFont.load_default(CAPTION_PIXELS - 12)
    ImageDraw.Draw(frame).text((8, grid.height + 4), f"{kimg:.1f} kimg", font=font, fill="white")
    return np.asarray(frame)
