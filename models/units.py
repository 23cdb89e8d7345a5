"""units.json of an artifact: what the feature maps of each level do.

Not here: measuring them (training.dissection.units), editing them (models.level_edits).
"""

from __future__ import annotations

from pydantic import Field

from models.base import Frozen


class Unit(Frozen):
    """A feature map of a level."""

    unit: int = Field(ge=0)
    effect: float = Field(ge=0, description="mean absolute change of the images, of 255, when it is set to 0")
    concept: str | None = Field(default=None, description="what is where it is high; null where nothing agrees enough")
    iou: float | None = Field(
        default=None, ge=0, le=1, description="intersection over union of the concept and where the unit is high"
    )
    share: float | None = Field(
        default=None, ge=0, le=1, description="the share of all cells that count as high for this concept"
    )


class Level(Frozen):
    """The feature maps of a level, the one with the largest effect first."""

    level: int = Field(ge=0, description="0 is the lowest resolution")
    side: int = Field(ge=1, description="the height of each map, in cells")
    width: int | None = Field(default=None, ge=1, description="of each map, in cells; null in older files: the height")
    units: tuple[Unit, ...]


class Units(Frozen):
    """units.json."""

    images: int = Field(ge=1, description="how many generated images were measured")
    concepts: tuple[str, ...] = Field(description="what was looked for")
    origin: str = Field(description="how the concepts were found, or why there are none")
    levels: tuple[Level, ...] = Field(description="from the lowest resolution upwards")


def dump_units(units: Units) -> bytes:
    """Return the bytes of units.json."""
    return units.model_dump_json(indent=1).encode() + b"\n"
