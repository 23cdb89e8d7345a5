"""Configurations as files: presets with `--set` applied, and what runs saved.

Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from models.base import first_problem
from models.errors import FileError, InputError, first_line
from models.network_config import Shape
from training.assignments import assign, suggest
from training.config import Config
from training.data_config import DATA_TERMS, DataConfig
from training.gate import Bound
from training.metric_results import MetricName
from training.old_settings import field_names
from training.own_preset import EXAMPLE_SHAPE, OWN, check_shape, derive_settings

# Earlier presets whose place `own` has taken; their runs are resumed by what they saved.
REPLACED = ("images28", "images32", "images64")


def list_presets() -> list[str]:
    """Return the names of the presets, sorted."""
    folder = resources.files("training").joinpath("presets")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def find_preset(shape: tuple[int, int, int]) -> str:
    """Return the preset for images of this shape (channels, height, width).

    Raises: InputError for --data.
    """
    check_shape(shape)
    return OWN


def load_preset(
    name: str,
    assignments: tuple[str, ...] = (),
    shape: Shape = EXAMPLE_SHAPE,
    saved: Config | None = None,
    has_test_images: bool = False,
) -> Config:
    """Return a preset with `a.b=c` assignments applied.

    Args:
        name: of a preset, or an earlier name of it.
        assignments: as --set takes them.
        shape: of the images, by which the preset `own` chooses some settings.
        saved: the configuration of the run that is resumed, which keeps what its preset chose.
        has_test_images: the data have test images, which take the place of the preset's holdout.
    Raises: InputError naming the preset or the assignment at fault.
    """
    is_saved = saved is not None and saved.preset == name
    if saved and is_saved and name in REPLACED:
        values = {**saved.model_dump(mode="json"), "total_kimg": _read_preset(OWN)["total_kimg"]}
    else:
        name = OWN if name in REPLACED else name
        if name not in list_presets():
            raise InputError(f"no preset {name!r}; there are {', '.join(list_presets())}", "preset")
        values = {"preset": name, **_read_preset(name)}
    if name == OWN:
        for assignment in assignments:
            if assignment.startswith("compute="):
                assign(Config, values, assignment)
        chosen = derive_settings(shape, values["compute"])
        if saved and is_saved and saved.compute == values["compute"]:
            chosen = {setting: saved.model_dump(mode="json")[setting] for setting in chosen}
        values |= chosen
    if has_test_images:
        values["data"] = {**values["data"], "holdout": saved.data.holdout if saved else 0.0}
    if any(a.startswith(tuple(f"data.{term}=" for term in DATA_TERMS)) for a in assignments):
        # The user describes other data, so the preset's name and licence must not stay.
        values["data"] = {k: v for k, v in values["data"].items() if k not in (*DATA_TERMS, "digest")}
    for assignment in assignments:
        assign(Config, values, assignment)
    return _validate(values)


def _read_preset(name: str) -> dict[str, Any]:
    """Return a preset's settings; those that it does not state are its base's."""
    text = resources.files("training").joinpath("presets").joinpath(f"{name}.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    base = values.pop("base", None)
    return {**_read_preset(base), **values} if base else values


def read_gate(saved: Mapping[str, Any]) -> dict[MetricName, Bound]:
    """Return the thresholds of a saved configuration, or its preset's if it has none.

    Args: saved, as `Config.model_dump` makes it and manifests keep it; older versions' are read, too.
    """
    try:
        own = TypeAdapter(dict[MetricName, Bound]).validate_python(saved.get("gate") or {})
    except ValidationError:
        own = {}
    preset = saved.get("preset")
    return own or (load_preset(preset).gate if preset in (*list_presets(), *REPLACED) else {})


def read_data_config(saved: Mapping[str, Any]) -> DataConfig:
    """Return how training read its data, from a saved configuration of this or an older version."""
    known = {name for field in DataConfig.model_fields for name in field_names(DataConfig, field)}
    data = saved.get("data")
    values = {k: v for k, v in data.items() if k in known} if isinstance(data, Mapping) else {}
    try:
        return DataConfig.model_validate(values)
    except ValidationError:
        return DataConfig()


def load_config(path: Path) -> Config:
    """Return the configuration that a run saved in its folder.

    Raises: FileError.
    """
    try:
        return _validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(path, f"is damaged: {first_line(error)}") from None
    except InputError as error:
        raise FileError(path, f"does not suit this version: {error}") from None


def dump_config(config: Config) -> str:
    """Return YAML that `load_config` reads back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _validate(values: Any) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problem = first_problem(error)
        # pydantic puts the kind of the network into the path; no setting is called so.
        path = tuple(part for part in problem.path if part not in ("resnet", "mlp", "dcgan"))
        setting = problem._replace(path=path).field or "config"
        if problem.kind == "extra_forbidden":
            hint = suggest(Config, setting)
            raise InputError(f"there is no such setting{hint}; --dry-run lists them all", setting) from None
        raise InputError(problem.message, setting) from None
