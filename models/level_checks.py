"""Check the edits of feature maps in an address against the generator that they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.address import Address
from models.errors import InputError
from models.latents import draw_label
from models.level_edits import Paste, Rectangle
from models.network_config import LevelShape


def fit_level_edits(address: Address, levels: Sequence[LevelShape], z_dim: int, num_classes: int) -> Address:
    """Return the address with the labels of its pastes, if a generator has the levels, units and cells that it edits.

    Args:
        address: its own label resolved.
        levels: of the generator, from the lowest resolution upwards.
        z_dim, num_classes: of the generator.
    Raises: InputError naming the part at fault.
    """
    for paste in address.paste:
        _check_rectangle(paste.rectangle, _find_level(levels, paste.level, "paste"), "paste")
    for edit in address.units:
        level = _find_level(levels, edit.level, edit.name)
        if edit.unit >= level.units:
            raise InputError(f"level {edit.level} has the units 0 to {level.units - 1}", edit.name)
        if edit.rectangle is not None:
            _check_rectangle(edit.rectangle, level, edit.name)
    fitted = replace(address, paste=tuple(_resolve_label(paste, z_dim, num_classes) for paste in address.paste))
    _check_changes(fitted)
    return fitted


def _find_level(levels: Sequence[LevelShape], level: int, field: str) -> LevelShape:
    if level >= len(levels):
        raise InputError(f"the levels of this model are 0 to {len(levels) - 1}, got {level}", field)
    return levels[level]


def _check_rectangle(rectangle: Rectangle, level: LevelShape, field: str) -> None:
    _, height, width = level
    if rectangle.y1 > height or rectangle.x1 > width:
        message = f"passes the edge: the feature maps of this level have {height} rows and {width} columns"
        raise InputError(message, field)
    if rectangle == (0, 0, height, width):
        hint = "it would be the other image" if field == "paste" else "leave it out"
        raise InputError(f"has a rectangle that is the whole map; {hint}", field)


def _resolve_label(paste: Paste, z_dim: int, num_classes: int) -> Paste:
    if not num_classes:
        if paste.label is not None:
            raise InputError("names a label, but the model has no classes; leave it out", "paste")
        return paste
    if paste.label is None:
        return paste._replace(label=draw_label(*paste.source, z_dim, num_classes))
    if paste.label >= num_classes:
        raise InputError(f"the labels are 0 to {num_classes - 1}, got {paste.label}", "paste")
    return paste


def _check_changes(address: Address) -> None:
    """Check that no paste puts back what is there.

    Raises: InputError.
    """
    if address.to is not None or address.z or address.directions:
        return
    lowest = min([paste.level for paste in address.paste] + [edit.level for edit in address.units])
    for k, paste in enumerate(address.paste):
        is_own = (paste.source, paste.label) == (address.start, address.label)
        is_changed = lowest < paste.level or any(
            before.rectangle.overlaps(paste.rectangle) for before in address.paste[:k]
        )
        if is_own and not is_changed:
            raise InputError(f"changes nothing, because it is of the image itself: {paste}", "paste")
