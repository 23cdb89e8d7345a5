"""Plans a sweep: the grid of settings, and which of its runs are finished.

Not here: training and evaluating (training.commands.sweep).
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import InputError
from models.network_config import Shape
from training.config import Config
from training.config_files import load_preset
from training.data_config import READING
from training.own_preset import EXAMPLE_SHAPE
from training.runs import checkpoint
from training.runs.run_dir import is_run, resolve_config

# Folder names longer than this end in a digest instead.
MAX_NAME_LENGTH = 120
CLOSING = {"[": "]", "{": "}", "(": ")"}


@dataclass(frozen=True)
class Axis:
    """A setting with the values that it takes in the grid, as YAML; a single value is the same in all runs."""

    name: str
    values: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """The values as parts of folder names, all different."""
        slugs = [re.sub(r"[^A-Za-z0-9.+-]+", "-", value).strip("-") for value in self.values]
        labels: list[str] = []
        for k, slug in enumerate(slugs):
            label = slug if slug and slugs.count(slug) == 1 else f"{slug}{k}"
            while label in labels or (label != slug and label in slugs):
                label += f"-{k}"
            labels.append(label)
        return labels


@dataclass(frozen=True)
class PlannedRun:
    """A run of the grid: its folder's name, and what differs from the preset, as --set takes it."""

    name: str
    assignments: tuple[str, ...]
    config: Config


def parse_axes(assignments: Iterable[str], seeds: str | None) -> list[Axis]:
    """Parse the arguments of --set and --seeds.

    Raises: InputError naming the setting or option at fault.
    """
    axes = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise InputError(f"expected NAME=VALUE,VALUE..., got {assignment!r}", "--set")
        axes.append(Axis(name, split_values(text, name)))
    if seeds is not None:
        axes.append(Axis("seed", split_values(seeds, "--seeds")))
    for axis in axes:
        if sum(other.name == axis.name for other in axes) > 1:
            raise InputError("is given twice; give all its values at once", axis.name)
        if len(set(axis.values)) < len(axis.values):
            raise InputError(f"has a value twice: {', '.join(axis.values)}", axis.name)
    if not any(len(axis.values) > 1 for axis in axes):
        raise InputError("give a setting several values, e.g. lr.start=1e-3,5e-4, or --seeds 0,1,2", "--set")
    return axes


def split_values(text: str, name: str) -> tuple[str, ...]:
    """Split at the commas outside of brackets and quotes.

    Raises: InputError for `name` if a value is empty.
    """
    values, start, expected = [], 0, []
    quote = ""
    for k, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in CLOSING:
            expected.append(CLOSING[character])
        elif expected and character == expected[-1]:
            expected.pop()
        elif character == "," and not expected:
            values.append(text[start:k])
            start = k + 1
    values = [value.strip() for value in (*values, text[start:])]
    if not all(values):
        raise InputError(f"has an empty value: {text!r}", name)
    return tuple(values)


def plan(
    preset: str, axes: Sequence[Axis], shape: Shape = EXAMPLE_SHAPE, has_test_images: bool = False
) -> list[PlannedRun]:
    """Make the grid's runs for images of a shape, the last axis fastest; every setting is checked.

    Args: shape, has_test_images as for training.config_files.load_preset.
    Raises: InputError naming the setting at fault.
    """
    runs = []
    for choice in itertools.product(*(range(len(axis.values)) for axis in axes)):
        assignments = tuple(f"{axis.name}={axis.values[k]}" for axis, k in zip(axes, choice))
        parts = [f"{axis.name}={axis.labels[k]}" for axis, k in zip(axes, choice) if len(axis.values) > 1]
        config = load_preset(preset, assignments, shape, has_test_images=has_test_images)
        runs.append(PlannedRun(_shorten(",".join(parts)), assignments, config))
    return runs


def check_reading(runs: Sequence[PlannedRun]) -> None:
    """Check that all runs read the data in the same way, because a sweep reads them once.

    Raises: InputError naming the setting.
    """
    first = runs[0].config.data
    for run in runs[1:]:
        for name in READING:
            if getattr(run.config.data, name) != getattr(first, name):
                raise InputError(
                    "must be the same in all runs, which share the data; make a sweep of each", f"data.{name}"
                )


def check_folders(runs: Sequence[PlannedRun], out: Path) -> None:
    """Check, before anything runs, that what earlier calls left are runs of the same settings.

    Raises: InputError naming the setting, FileError.
    """
    if is_run(out):
        raise InputError(f"{out} is a run itself; give another folder", "--out")
    for run in runs:
        if is_run(out / run.name):
            resolve_config(run.config, out / run.name)


def trained_kimg(run: Path) -> float:
    """Return how long a run has been trained by its newest checkpoint; 0 without one."""
    path = checkpoint.latest_path(run)
    return checkpoint.load(path)["trainer"]["images_shown"] / 1000 if path else 0.0


def _shorten(name: str) -> str:
    if len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{name[: MAX_NAME_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
