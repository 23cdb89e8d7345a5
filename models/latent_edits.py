"""Edits of a latent in an address: `zK` sets a dimension, `dir.NAME` moves along a direction of the model's.

Not here: mixing (models.latents), which directions a model has (models.directions).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.address_numbers import check_decimal, check_integer
from models.errors import InputError
from models.latents import MAX_VALUE

MAX_DIRECTIONS = 16
DIRECTION_NAME = re.compile(r"[a-z](?:[a-z0-9_-]{0,30}[a-z0-9])?")
_DIMENSION = re.compile(r"z(0|[1-9][0-9]{0,5})")
_PREFIX = "dir."


def is_dimension_name(name: str) -> bool:
    """Tell whether a part of an address sets a dimension."""
    return bool(_DIMENSION.fullmatch(name))


def is_direction_name(name: str) -> bool:
    """Tell whether a part of an address moves along a direction."""
    return name.startswith(_PREFIX) and bool(DIRECTION_NAME.fullmatch(name.removeprefix(_PREFIX)))


def parse_dimension(name: str) -> int:
    """Return the dimension that a part of an address sets (`is_dimension_name`)."""
    return int(name[1:])


def parse_direction(name: str) -> str:
    """Return the direction that a part of an address moves along (`is_direction_name`)."""
    return name.removeprefix(_PREFIX)


def name_direction(direction: str) -> str:
    """Return what moving along a direction is called in an address."""
    return _PREFIX + direction


def check_dimensions(edits: Sequence[tuple[int, float]]) -> None:
    """Check pairs (dimension, value): order and numbers.

    Raises: InputError.
    """
    if not isinstance(edits, tuple) or not all(isinstance(edit, tuple) and len(edit) == 2 for edit in edits):
        raise InputError(f"must be a tuple of pairs (dimension, value), got {edits!r}", "z")
    dimensions = [check_integer(k, "z") for k, _ in edits]
    if dimensions != sorted(set(dimensions)):
        raise InputError("must be in the order of the dimensions, each once", "z")
    for k, value in edits:
        check_decimal(value, f"z{k}", MAX_VALUE)


def check_directions(edits: Sequence[tuple[str, float]]) -> None:
    """Check pairs (direction, value): names, their order, and numbers.

    Raises: InputError.
    """
    if not isinstance(edits, tuple) or not all(isinstance(edit, tuple) and len(edit) == 2 for edit in edits):
        raise InputError(f"must be a tuple of pairs (name, value), got {edits!r}", "directions")
    if len(edits) > MAX_DIRECTIONS:
        raise InputError(f"are {len(edits)}; an address moves along at most {MAX_DIRECTIONS}", "directions")
    for name, value in edits:
        if not isinstance(name, str) or not DIRECTION_NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name of a direction", "directions")
        check_decimal(value, name_direction(name), MAX_VALUE)
        if not value:
            raise InputError("changes nothing, because it is 0; leave it out", name_direction(name))
    if not all(a < b for (a, _), (b, _) in pairwise(edits)):
        raise InputError("must be in the order of their names, each once", "directions")


def move_latent(
    z: NDArray[np.float32], edits: Sequence[tuple[str, float]], vectors: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return z + V1 d1 + V2 d2 + ..., added in this order in float64 and rounded to float32 once.

    Args:
        z: float32 (z_dim,).
        edits: (direction, V).
        vectors: float32 (z_dim,) of each direction.
    """
    moved = z.astype(np.float64)
    for name, value in edits:
        moved += value * vectors[name].astype(np.float64)
    return moved.astype(np.float32)
