"""Keep the averaged weights of a run from time to time, and thin them out.

A snapshot has the format of a checkpoint, without optimisers and the discriminator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.runs import checkpoint

SNAPSHOTS_FOLDER = "snapshots"
# The last one is kept beside these.
MAX_SNAPSHOTS = 24


def list_paths(run: Path) -> list[Path]:
    """List the snapshots of a run, oldest first."""
    return checkpoint.list_paths(run / SNAPSHOTS_FOLDER)


def save_if_due(run: Path, images_shown: int, snapshot_kimg: float, state: dict[str, Any]) -> None:
    """Save a snapshot if a multiple of `snapshot_kimg` was passed since the last one; thin out if there are many.

    Which are kept depends only on the ticks: after a resume they are the same.

    Args:
        run: the run's folder.
        images_shown: real images shown so far.
        snapshot_kimg: distance of two snapshots; 0 for none.
        state: as a checkpoint's.
    """
    interval = snapshot_kimg * 1000
    if not interval:
        return
    paths = list_paths(run)
    last = checkpoint.count_images(paths[-1]) if paths else 0
    if images_shown // interval <= last // interval:
        return
    checkpoint.write(
        checkpoint.path_for(run / SNAPSHOTS_FOLDER, images_shown),
        {
            "trainer": {"ema": state["trainer"]["ema"], "images_shown": images_shown},
            "generator": state["generator"],
            "data": state["data"],
        },
    )
    _thin_out(list_paths(run), interval)


def _thin_out(paths: list[Path], interval: float) -> None:
    """Delete snapshots so that the rest are at the multiples of a larger distance; the newest stays."""
    numbers = [int(checkpoint.count_images(path) // interval) for path in paths]
    step = 1
    while numbers[-1] // step > MAX_SNAPSHOTS:
        step *= 2
    for path, number in zip(paths[:-1], numbers):
        if number % step:
            path.unlink()
