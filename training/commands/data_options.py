"""The options that say how data are read, for the commands that take no --set; and what the reading did."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import click

from models.errors import InputError
from training.data.dataset import Dataset
from training.data.decoding import SIZE_HELP, Decoding, FitMode, parse_colour, parse_size
from training.data.labels import LabelColumn
from training.data.layout import describe_skipped, describe_unused


class Reading(NamedTuple):
    """How data are read.

    Attributes:
        label_columns, unlabelled, decoding: as training.data.loader.load_dataset takes them.
        settings: the same for a training, as --set takes them.
    """

    label_columns: tuple[LabelColumn, ...]
    unlabelled: bool
    decoding: Decoding
    settings: tuple[str, ...]

    def with_continuous_label(self, column: str) -> Reading:
        """Return this with a column of numbers as the only label.

        Raises: InputError: other labels, or none, are to be read.
        """
        if self.label_columns or self.unlabelled:
            raise InputError("is the only label; leave --label and --unlabelled out", "--continuous-label")
        settings = (f"data.continuous_label={column}", *self.settings)
        return self._replace(label_columns=(LabelColumn(column=column),), settings=settings)


_OPTIONS = (
    click.option(
        "--label",
        "headings",
        multiple=True,
        metavar="COLUMN",
        help="A csv column that is part of the label, like data.label_columns in training. Repeatable.",
    ),
    click.option("--unlabelled", is_flag=True, help="Read no labels, like data.unlabelled=true in training."),
    click.option("--fit", type=click.Choice(get_args(FitMode)), default="crop", help="How, like data.fit."),
    click.option(
        "--background", default="", metavar="COLOUR", help="Behind transparent pixels and beside what is padded."
    ),
    click.option("--skip-damaged", is_flag=True, help="Leave out damaged images, like data.skip_damaged=true."),
)


def reading_options(size_required: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options to a command, which gets them as its argument `reading`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*, headings: tuple[str, ...], unlabelled: bool, size: str | None, **others: Any) -> None:
            fit, background, skip = (others.pop(name) for name in ("fit", "background", "skip_damaged"))
            decoding = _read_decoding(size, fit, background, skip)
            if headings and unlabelled:
                raise InputError("leave it out, or leave --unlabelled out", "--label")
            columns = tuple(LabelColumn(column=heading) for heading in headings)
            settings = _to_settings(headings, unlabelled, decoding, background)
            command(reading=Reading(columns, unlabelled, decoding, settings), **others)

        help_text = f"Bring every image to {SIZE_HELP}, like data.size in training."
        size_option = click.option("--size", metavar="SIZE", required=size_required, help=help_text)
        # Hidden, as it only says what to give instead.
        no_setting = click.option("--set", multiple=True, hidden=True, expose_value=False, callback=_refuse_setting)
        for option in (no_setting, *reversed(_OPTIONS[2:]), size_option, *reversed(_OPTIONS[:2])):
            run = option(run)
        return run

    return decorate


def _refuse_setting(context: click.Context, _parameter: click.Parameter, assignments: tuple[str, ...]) -> None:
    """Name the option that takes the place of a setting: what trains takes settings, and what checks data, options."""
    for assignment in assignments:
        setting, _, value = assignment.partition("=")
        name = {"data.label_columns": "--label"}.get(setting, f"--{setting.removeprefix('data.').replace('_', '-')}")
        option = next((known for known in context.command.params if name in known.opts), None)
        if not isinstance(option, click.Option) or option.hidden or not setting.startswith("data."):
            raise InputError(f"is for train; {context.command_path} --help lists the options here", "--set")
        plain = option.metavar if option.multiple else shlex.quote(value)
        raise InputError(f"is for train; here it is {name if option.is_flag else f'{name} {plain}'}", "--set")


def _read_decoding(size: str | None, fit: FitMode, background: str, skip_damaged: bool) -> Decoding:
    field = "--size"
    try:
        wanted = None if size is None else parse_size(size)
        field = "--background"
        decoding = Decoding(wanted, fit, parse_colour(background), skip_damaged)
        field = "--fit"
        decoding.check()
    except ValueError as error:
        raise InputError(str(error), field) from None
    return decoding


def _to_settings(headings: tuple[str, ...], unlabelled: bool, decoding: Decoding, background: str) -> tuple[str, ...]:
    columns = ", ".join(f"{{column: {heading}}}" for heading in headings)
    found = {
        f"data.label_columns=[{columns}]": bool(headings),
        "data.unlabelled=true": unlabelled,
        f"data.size={decoding.size}": decoding.size is not None,
        f"data.fit={decoding.fit}": decoding.fit != "crop",
        # YAML takes what begins with # for a comment.
        f'data.background="{background}"' if "#" in background else f"data.background={background}": bool(background),
        "data.skip_damaged=true": decoding.skip_damaged,
    }
    return tuple(setting for setting, is_given in found.items() if is_given)


def describe_reading(dataset: Dataset, decoding: Decoding) -> Iterator[str]:
    """Say what of the data is not used, and what was done to the images."""
    if dataset.unused:
        yield f"not used: {describe_unused(dataset.unused)}"
    if dataset.skipped:
        yield f"skipped: {describe_skipped(dataset.skipped)}"
    if dataset.origins:
        yield f"size: {decoding.fit} to {decoding.size}; {dataset.origins.enlarged or 'none'} of the images enlarged"


def quote_settings(settings: tuple[str, ...]) -> str:
    """Return settings as options of a command, each after a space."""
    return "".join(f" --set {shlex.quote(setting)}" for setting in settings)
