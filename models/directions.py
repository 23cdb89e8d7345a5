"""directions.json of an artifact: directions of the latent space, each with what moves along it.

Not here: finding them (training.dissection), moving along them (models.latent_edits).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator, model_validator

from models.base import Frozen, describe_first_problem
from models.errors import ArtifactError
from models.latent_edits import DIRECTION_NAME

# Vectors have length 1; their numbers are rounded to float32.
_TOLERANCE = 1e-4


class Direction(Frozen):
    """A direction of the latent space."""

    name: str = Field(pattern=f"^{DIRECTION_NAME.pattern}$")
    description: str = Field(description="what changes along it, in words")
    measure: str = Field(description="what was measured to check it")
    means: tuple[tuple[float, float], ...] = Field(
        default=(), description="(V, the measure's mean over images that are moved by V)"
    )
    vector: tuple[float, ...] = Field(description="z_dim numbers, which are rounded to float32; of length 1")

    @field_validator("vector")
    @classmethod
    def _has_length_1(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if abs(float(np.linalg.norm(value)) - 1) > _TOLERANCE:
            raise ValueError(f"must have length 1, has {float(np.linalg.norm(value)):.4f}")
        return value

    @property
    def array(self) -> NDArray[np.float32]:
        """The vector, float32 (z_dim,)."""
        return np.array(self.vector, np.float32)


class Directions(Frozen):
    """directions.json."""

    directions: tuple[Direction, ...] = Field(description="in the order of their names")

    @model_validator(mode="after")
    def _are_in_order(self) -> Directions:
        if not all(a.name < b.name for a, b in pairwise(self.directions)):
            raise ValueError("directions must be in the order of their names, each once")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in their order."""
        return tuple(direction.name for direction in self.directions)


def parse_directions(data: bytes, path: Path, names: tuple[str, ...], z_dim: int) -> dict[str, NDArray[np.float32]]:
    """Return the vector of each direction of an artifact, float32 (z_dim,).

    Args:
        data: the bytes of directions.json.
        path: of the file, for messages.
        names: those that the manifest lists.
        z_dim: length of the model's latents.
    Raises: ArtifactError.
    """
    try:
        directions = Directions.model_validate_json(data)
    except ValidationError as error:
        raise ArtifactError(path, f"is not valid: {describe_first_problem(error)}") from None
    if directions.names != names:
        raise ArtifactError(path, f"has the directions {list(directions.names)}, but manifest.json has {list(names)}")
    for direction in directions.directions:
        if len(direction.vector) != z_dim:
            size = len(direction.vector)
            raise ArtifactError(path, f"{direction.name} has {size} numbers; a latent of this model has {z_dim}")
    return {direction.name: direction.array for direction in directions.directions}


def dump_directions(directions: Directions) -> bytes:
    """Return the bytes of directions.json."""
    return directions.model_dump_json(indent=1).encode() + b"\n"


def make_vector(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Scale a vector that is not 0 to length 1; the shortest numbers that read back as the same float32."""
    unit = (values / np.linalg.norm(values)).astype(np.float32)
    return tuple(float(str(value)) for value in unit)
