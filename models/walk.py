"""Walks through the latent space: the addresses of the frames on the way from stop to stop.

Not here: video files (models.video), the command (models.walk_command).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from models.address import Address
from models.errors import InputError

# No more, so that `at`, with its four decimals, is neither 0 nor 1 between two stops.
MAX_FRAMES = 10_000
# Numbers in an address have four decimals.
_PARTS = 10_000


def plan_walk(stops: Sequence[Address], num_frames: int, is_loop: bool = False) -> list[Address]:
    """Return the addresses of the frames of a walk, which are spread evenly over its parts.

    A frame between two stops is their mixture (docs/addresses.md, "Edits"), with `at` rounded to 4 decimals. Their psi,
    zK and dir.NAME go evenly from one to the other, rounded to 4 decimals; a stop without a dir.NAME has 0 there.

    Args:
        stops: at least two addresses of one model, labels resolved (`Manifest.check`), not mixed themselves, with the
            same paste and uL.U, which set the same dimensions by zK. Of two neighbours that differ in more than
            psi and dir.NAME, one has a seed and an index.
        num_frames: at least one for each stop, at most 10,000.
        is_loop: whether the walk leads back to the first stop, so that a video of it repeats without a jump. Otherwise
            the last frame is the last stop.
    Raises: InputError naming the stop at fault, such as stops[1].
    """
    if not len(stops) <= num_frames <= MAX_FRAMES:
        raise InputError(f"must be from {len(stops)}, the number of stops, to {MAX_FRAMES}, got {num_frames}", "frames")
    ends = [*stops[1:], stops[0]] if is_loop else [*stops[1:]]
    _check_stops(stops, ends)
    divisor = num_frames if is_loop else num_frames - 1
    frames: list[Address] = []
    for frame in range(num_frames):
        # In integers, so that no rounding moves a frame that falls on a stop.
        part, rest = divmod(frame * len(ends), divisor)
        frames.append(_mix(stops[part], ends[part], Fraction(rest, divisor)) if rest else stops[part])
    return frames


def _mix(start: Address, end: Address, share: Fraction) -> Address:
    """Return the address at a share, above 0 and below 1, of the way from start to end."""
    edits = _mix_edits(start, end, share)
    if _has_same_latent(start, end):
        return replace(start, **edits)
    if end.latent is not None:
        # Only a seed and an index can stand in `to`; a mixture is the same from both sides.
        start, end, share = end, start, 1 - share
    tolabel = None if end.label == start.label else end.label
    return replace(start, to=(end.seed, end.index), tolabel=tolabel, at=_round(share), **edits)


def _round(value: Fraction) -> float:
    """Round to the four decimals of numbers in an address, halves up."""
    return math.floor(value * _PARTS + Fraction(1, 2)) / _PARTS


def _mix_edits(start: Address, end: Address, share: Fraction) -> dict[str, Any]:
    """Return psi, z and directions on the way; what both ends share stays as it is."""

    def mix(a: float, b: float) -> float:
        return a if a == b else _round(Fraction(a) + (Fraction(b) - Fraction(a)) * share)

    moves, end_moves = dict(start.directions), dict(end.directions)
    moved = {name: mix(moves.get(name, 0), end_moves.get(name, 0)) for name in sorted({*moves, *end_moves})}
    return {
        "psi": mix(start.psi, end.psi) or 1 / _PARTS,
        "z": tuple((dimension, mix(a, b)) for (dimension, a), (_, b) in zip(start.z, end.z)),
        "directions": tuple((name, value) for name, value in moved.items() if value),
    }


def _has_same_latent(start: Address, end: Address) -> bool:
    """Tell whether two stops differ in psi, zK and dir.NAME only."""
    return (start.start, start.latent, start.label) == (end.start, end.latent, end.label)


def _check_stops(stops: Sequence[Address], ends: Sequence[Address]) -> None:
    if len(stops) < 2:
        raise InputError("must be two or more addresses", "stops")
    first = stops[0]
    for k, stop in enumerate(stops):
        if (stop.model, stop.version) != (first.model, first.version):
            raise InputError(f"must be of {first.model}/{first.version} like the first", f"stops[{k}]")
        if stop.to is not None:
            raise InputError("is a mixture of two latents; give the two as stops", f"stops[{k}]")
        if (stop.paste, stop.units) != (first.paste, first.units):
            raise InputError("must have the same paste and uL.U as the first", f"stops[{k}]")
        if dict(stop.z).keys() != dict(first.z).keys():
            dimensions = ", ".join(f"z{dimension}" for dimension, _ in first.z) or "none"
            raise InputError(f"must set the dimensions that the first sets ({dimensions})", f"stops[{k}]")
    for k, (start, end) in enumerate(zip(stops, ends)):
        if start == end:
            raise InputError("is the same image as the stop after it", f"stops[{k}]")
        if start.latent is not None and end.latent is not None and not _has_same_latent(start, end):
            raise InputError(
                "and the stop after it are both written out; of two neighbours, one needs seed and index", f"stops[{k}]"
            )
