"""Edits of a generator's feature maps: `paste` and `uL.U` of an address.

Level L of a generator is what it has computed before its image grows for the (L + 1)-th time, or, at the last level,
before it becomes colours: feature maps (units) of one size (`models.network_config`, `levels`).
Not here: running them (models.runtime.onnx_levels).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from models.address_numbers import check_decimal, check_integer, format_decimal, parse_decimal, parse_integer
from models.errors import InputError

MAX_PASTES = 4
MAX_UNIT_EDITS = 64
# Feature maps of the bundled models stay within 15.
MAX_UNIT_VALUE = 100
_PASTE = re.compile(
    r"(?P<level>[0-9]+)_(?P<seed>[0-9]+)\.(?P<index>[0-9]+)_(?:(?P<label>[0-9]+)_)?"
    r"(?P<y0>[0-9]+)_(?P<x0>[0-9]+)_(?P<y1>[0-9]+)_(?P<x1>[0-9]+)"
)
_UNIT = re.compile(r"u(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")


class Rectangle(NamedTuple):
    """Rows y0 .. y1 - 1 and columns x0 .. x1 - 1 of a feature map, counted from the upper left corner."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def cells(self) -> tuple[slice, slice]:
        """The rows and the columns as slices."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def contains(self, other: Rectangle) -> bool:
        """Tell whether all of the other's cells are cells of this one."""
        return self.y0 <= other.y0 and self.x0 <= other.x0 and self.y1 >= other.y1 and self.x1 >= other.x1

    def overlaps(self, other: Rectangle) -> bool:
        """Tell whether they have a cell in common."""
        return max(self.y0, other.y0) < min(self.y1, other.y1) and max(self.x0, other.x0) < min(self.x1, other.x1)


class Paste(NamedTuple):
    """All units of a level, in a rectangle, are those of another image.

    Attributes:
        level: 0 is the lowest resolution.
        rectangle: where.
        source: seed and index of the other image, which has the psi of this one and no edits.
        label: its class; None where the model has none, or where it is drawn from the stream of the source.
    """

    level: int
    rectangle: Rectangle
    source: tuple[int, int]
    label: int | None = None

    def __str__(self) -> str:
        source = "{}.{}".format(*self.source)
        label = () if self.label is None else (self.label,)
        return "_".join(map(str, (self.level, source, *label, *self.rectangle)))


class UnitEdit(NamedTuple):
    """A unit of a level is set to a value, in a rectangle or, where that is None, everywhere."""

    level: int
    unit: int
    value: float
    rectangle: Rectangle | None = None

    @property
    def name(self) -> str:
        """What it is called in an address."""
        return f"u{self.level}.{self.unit}"

    def __str__(self) -> str:
        return "_".join([format_decimal(self.value), *map(str, self.rectangle or ())])


def parse_paste(text: str) -> Paste:
    """Parse the value of `paste`.

    Raises: InputError.
    """
    match = _PASTE.fullmatch(text)
    if not match:
        raise InputError(
            f"must be L_SEED.INDEX_LABEL_Y0_X0_Y1_X1 such as 2_7.0_1_8_4_12_12, got {text[:60]!r}", "paste"
        )
    label = None if match["label"] is None else parse_integer(match["label"], "paste")
    level, seed, index = (parse_integer(match[name], "paste") for name in ("level", "seed", "index"))
    corners = (parse_integer(match[name], "paste") for name in Rectangle._fields)
    return Paste(level, Rectangle(*corners), (seed, index), label)


def get_place(paste: Paste) -> tuple[int, Rectangle]:
    """Return what pastes are sorted by."""
    return paste.level, paste.rectangle


def is_unit_name(name: str) -> bool:
    """Tell whether a part of an address sets a unit."""
    return bool(_UNIT.fullmatch(name))


def parse_unit_edit(name: str, text: str) -> UnitEdit:
    """Parse a part of an address that sets a unit (`is_unit_name`): V or V_Y0_X0_Y1_X1.

    Raises: InputError.
    """
    level, unit = map(int, name[1:].split("."))
    value, *corners = text.split("_")
    if corners and len(corners) != 4:
        raise InputError(f"must be V or V_Y0_X0_Y1_X1 such as -1.5_8_4_12_12, got {text[:60]!r}", name)
    rectangle = Rectangle(*(parse_integer(corner, name) for corner in corners)) if corners else None
    return UnitEdit(level, unit, parse_decimal(value, name), rectangle)


def check_pastes(pastes: Sequence[Paste]) -> None:
    """Check what can be checked without a model: numbers, order, and that none is covered by one after it.

    Raises: InputError.
    """
    if not isinstance(pastes, tuple) or not all(isinstance(paste, Paste) for paste in pastes):
        raise InputError("must be a tuple of models.level_edits.Paste", "paste")
    if len(pastes) > MAX_PASTES:
        raise InputError(f"is given {len(pastes)} times; an address has at most {MAX_PASTES}", "paste")
    for paste in pastes:
        for number in (paste.level, *paste.source, 0 if paste.label is None else paste.label):
            check_integer(number, "paste")
        _check_rectangle(paste.rectangle, "paste")
    places = [get_place(paste) for paste in pastes]
    if places != sorted(places):
        raise InputError("must be in the order of the levels, then of the rectangles", "paste")
    for k, (level, rectangle) in enumerate(places):
        if any(later == level and cover.contains(rectangle) for later, cover in places[k + 1 :]):
            raise InputError(f"changes nothing, because one after it covers it: {pastes[k]}", "paste")


def check_unit_edits(edits: Sequence[UnitEdit]) -> None:
    """Check what can be checked without a model: numbers and order.

    Raises: InputError.
    """
    if not isinstance(edits, tuple) or not all(isinstance(edit, UnitEdit) for edit in edits):
        raise InputError("must be a tuple of models.level_edits.UnitEdit", "units")
    if len(edits) > MAX_UNIT_EDITS:
        raise InputError(f"are {len(edits)}; an address sets at most {MAX_UNIT_EDITS} units", "units")
    for edit in edits:
        check_integer(edit.level, "units")
        check_integer(edit.unit, "units")
        check_decimal(edit.value, edit.name, MAX_UNIT_VALUE)
        if edit.rectangle is not None:
            _check_rectangle(edit.rectangle, edit.name)
    places = [(edit.level, edit.unit) for edit in edits]
    if places != sorted(set(places)):
        raise InputError("must be in the order of the levels and units, each once", "units")


def _check_rectangle(rectangle: Rectangle, field: str) -> None:
    for corner in rectangle:
        check_integer(corner, field)
    if rectangle.y0 >= rectangle.y1 or rectangle.x0 >= rectangle.x1:
        raise InputError(f"has no cells: Y1 must be above Y0, and X1 above X0, got {tuple(rectangle)}", field)
