"""Apply `--set NAME=VALUE` to the settings of a configuration.

A dotted name reaches into parts that are off, which turns them on, and into schedules that are one number.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from models.errors import InputError
from training.old_settings import check_current, find_models
from training.schedule import CosineSchedule, expand

Model = type[BaseModel]


def assign(config_type: Model, values: dict[str, Any], assignment: str) -> None:
    """Change `values`, as YAML gives them for `config_type`, by one NAME=VALUE.

    Raises: InputError naming the setting.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise InputError(f"expected NAME=VALUE, got {assignment!r}", "--set")
    if path == "preset":
        raise InputError("preset is not a setting; give another --preset", "--set")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"the value is not valid YAML: {text[:40]!r}", path) from None
    for name in _flatten(path, value):
        check_current(config_type, name)
    *parents, leaf = path.split(".")
    node: dict[str, Any] = values
    model: Model | None = config_type
    for key in parents:
        child = _read_part(node, key, model)
        if child is None:
            raise InputError(f"there is no such setting{suggest(config_type, path)}; --dry-run lists them all", path)
        node[key] = child
        node, model = child, _choose_model(model, key, child)
    # A part that is on already keeps its settings.
    if not (value is True and isinstance(node.get(leaf), dict) and _is_switch(model, leaf)):
        node[leaf] = value


def suggest(config_type: Model, setting: str) -> str:
    """Return a hint if the name of a setting was mistyped, else an empty text."""
    matches = difflib.get_close_matches(setting.rpartition(".")[2], sorted(_names(config_type)), n=1, cutoff=0.8)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _names(model: Model) -> set[str]:
    """Return the names of a model's fields and of those inside them."""
    inner = (_names(part) for field in model.model_fields.values() for part in find_models(field.annotation))
    return {*model.model_fields}.union(*inner)


def _read_part(node: dict[str, Any], key: str, model: Model | None) -> dict[str, Any] | None:
    """Return the settings inside a setting; None if there are none."""
    field = model.model_fields.get(key) if model else None
    models = list(find_models(field.annotation)) if field else []
    child = node.get(key)
    if field and key not in node:
        default = field.get_default(call_default_factory=True)
        child = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
    if isinstance(child, dict):
        return child
    if CosineSchedule in models and isinstance(child, int | float | str):
        try:
            return dict(expand(child))
        except ValueError:
            return None
    is_off = child is None or isinstance(child, bool)
    return {} if models and is_off else None


def _is_switch(model: Model | None, name: str) -> bool:
    field = model.model_fields.get(name) if model else None
    return field is not None and type(None) in get_args(field.annotation)


def _choose_model(model: Model | None, key: str, child: dict[str, Any]) -> Model | None:
    """Return the model of the settings inside a setting; None where it is not known."""
    field = model.model_fields.get(key) if model else None
    for part in find_models(field.annotation) if field else ():
        kind = part.model_fields.get("kind")
        if kind is None or kind.default == child.get("kind"):
            return part
    return None


def _flatten(path: str, value: Any) -> Iterator[str]:
    """Yield the path of a value and of all values inside it."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten(f"{path}.{key}", inner)
