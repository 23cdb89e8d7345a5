"""Settings that earlier versions had: removed ones, and the old names that are aliases of fields."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, get_args, get_origin

from pydantic import AliasChoices, BaseModel

from models.errors import InputError

# A saved configuration may hold the value that turned a removed setting off.
REMOVED: Mapping[str, object] = {"penalty": "exact", "cover": None}
REMOVED_AUGMENT = ("target", "adjust_kimg", "start")


def check_current(config_type: type[BaseModel], name: str) -> None:
    """Check that a dotted name is not one of an earlier version.

    Raises: InputError naming it, with what to write instead.
    """
    if name in (*REMOVED, *(f"augment.{removed}" for removed in REMOVED_AUGMENT)):
        raise InputError("was removed", name)
    parent, dot, _ = name.rpartition(".")
    for pattern, current in _old_names(config_type).items():
        if fnmatchcase(name, pattern):
            raise InputError(f"is called {parent}{dot}{current} now", name)


def field_names(model: type[BaseModel], field: str) -> list[str]:
    """Return a field's name, then its old ones."""
    alias = model.model_fields[field].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [field]


@functools.cache
def _old_names(config_type: type[BaseModel]) -> dict[str, str]:
    """Return patterns of old dotted names, each with the current last part."""
    return dict(_walk_old_names(config_type, ""))


def _walk_old_names(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for field, info in model.model_fields.items():
        for old in field_names(model, field)[1:]:
            yield prefix + old, field
        any_key = "*." if get_origin(info.annotation) is dict else ""
        for inner in find_models(info.annotation):
            yield from _walk_old_names(inner, f"{prefix}{field}.{any_key}")


def find_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the typed data that a field may hold, inside of unions and dictionaries, too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from find_models(part)
