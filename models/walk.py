"""Walks through the latent space: the addresses of the frames on the way from stop to stop.

Not here: video files (models.video), the command (models.walk_command).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.address import Address
from models.errors import InputError

MAX_FRAMES = 10_000
# `at` has four decimals.
_STEPS = 10_000


def plan_walk(stops: Sequence[Address], num_frames: int, is_loop: bool = False) -> list[Address]:
    """Return the addresses of the frames of a walk, which are spread evenly over its parts.

    A frame between two stops is their mixture (docs/addresses.md, "Edits"), with `at` rounded to 4 decimals.

    Args:
        stops: at least two addresses of one model, labels resolved (`Manifest.check`), not mixed themselves, with the
            same psi, zK, dir.NAME, paste and uL.U. Of two neighbours, one has a seed and an index.
        num_frames: at least one for each stop, at most 10,000.
        is_loop: whether the walk leads back to the first stop, so that a video of it repeats without a jump. Otherwise
            the last frame is the last stop.
    Raises: InputError naming the stop at fault, such as stops[1].
    """
    if not len(stops) <= num_frames <= MAX_FRAMES:
        raise InputError(f"must be from {len(stops)}, the number of stops, to {MAX_FRAMES}, got {num_frames}", "frames")
    ends = [*stops[1:], stops[0]] if is_loop else [*stops[1:]]
    _check_stops(stops, ends)
    # In integers, so that no rounding moves a frame that falls on a stop.
    divisor = num_frames if is_loop else num_frames - 1
    positions = [
        divmod((2 * frame * len(ends) * _STEPS + divisor) // (2 * divisor), _STEPS) for frame in range(num_frames)
    ]
    return [_mix(stops[part], ends[part], step) if step else stops[part] for part, step in positions]


def _mix(start: Address, end: Address, step: int) -> Address:
    """Return the address `step` ten-thousandths of the way from start to end."""
    if end.latent is not None:
        # Only a seed and an index can stand in `to`; a mixture is the same from both sides.
        return _mix(end, start, _STEPS - step)
    tolabel = None if end.label == start.label else end.label
    return replace(start, to=(end.seed, end.index), tolabel=tolabel, at=step / _STEPS)


def _check_stops(stops: Sequence[Address], ends: Sequence[Address]) -> None:
    if len(stops) < 2:
        raise InputError("must be two or more addresses", "stops")
    first = stops[0]
    for k, stop in enumerate(stops):
        if (stop.model, stop.version) != (first.model, first.version):
            raise InputError(f"must be of {first.model}/{first.version} like the first", f"stops[{k}]")
        if stop.to is not None:
            raise InputError("is a mixture of two latents; give the two as stops", f"stops[{k}]")
        if _list_edits(stop) != _list_edits(first):
            raise InputError("must have the same psi, zK, dir.NAME, paste and uL.U as the first", f"stops[{k}]")
    for k, (start, end) in enumerate(zip(stops, ends)):
        if start == end:
            raise InputError("is the same image as the stop after it", f"stops[{k}]")
        if start.latent is not None and end.latent is not None:
            raise InputError(
                "and the stop after it are both written out; of two neighbours, one needs seed and index", f"stops[{k}]"
            )


def _list_edits(stop: Address) -> tuple[object, ...]:
    return stop.psi, stop.z, stop.directions, stop.paste, stop.units
