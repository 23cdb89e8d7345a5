"""The command line: finds a command's module, and turns errors into exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

import click

from ganmint import own_packages

own_packages.put_first()

from models import memory  # noqa: E402
from models.errors import GanmintError, InputError  # noqa: E402


class LazyCommand(NamedTuple):
    """A command that is imported when it is run: `ganmint --help` needs no torch, `ganmint serve` no trainer."""

    module: str
    short_help: str


COMMANDS = {
    "train": LazyCommand("training.commands.train", "Train a generator."),
    "evaluate": LazyCommand("training.commands.evaluate", "Measure a generator and write a report."),
    "publish": LazyCommand("training.commands.evaluate", "Publish a run's generator."),
    "data": LazyCommand("training.commands.data", "Check and prepare data before training on it."),
    "movie": LazyCommand("training.commands.runs", "Make a video of a training."),
    "compare": LazyCommand("training.commands.runs", "Show runs side by side."),
    "lab": LazyCommand("service.lab", "Make a page that plays how a toy run learned."),
    "sweep": LazyCommand("training.commands.sweep", "Train a grid of settings and compare the runs."),
    "models": LazyCommand("models.commands", "List, show, verify, sign, upgrade, install, push, pull models."),
    "sample": LazyCommand("models.sample_command", "Mint images to files."),
    "walk": LazyCommand("models.walk_command", "Make a video of a walk from address to address."),
    "project": LazyCommand("training.commands.project", "Find the address whose image is nearest to a picture."),
    "directions": LazyCommand("training.commands.directions", "Find directions along which one thing changes."),
    "dissect": LazyCommand("training.commands.dissect", "Tell what the units of a generator do."),
    "inspect": LazyCommand("models.verify_commands", "Print the marks of a picture file."),
    "verify": LazyCommand("models.verify_commands", "Tell whether pictures are what their addresses mint."),
    "sign-images": LazyCommand("models.sign_commands", "Sign picture files with Content Credentials (C2PA)."),
    "export": LazyCommand("service.export.commands", "Write a labelled data set of any size."),
    "dataset": LazyCommand("service.export.commands", "Finish and verify the data sets that export writes."),
    "serve": LazyCommand("service.commands", "Serve every model in the store over HTTP."),
    "keys": LazyCommand("service.commands", "Make API keys for the service."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with _exit_on_signals():
            command: click.Command = getattr(import_module(COMMANDS[cmd_name].module), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.short_help) for name, command in COMMANDS.items()])


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Exit at once on SIGINT or SIGTERM in the block: imports run callbacks, where Python drops a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in handlers.items():
        # A shell's background job ignores SIGINT.
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda received, _frame: os._exit(128 + received))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@click.group(
    cls=_LazyGroup,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    epilog="\b\nExamples:\n"
    "  ganmint models install\n"
    "  ganmint sample digits --seed 7 --count 64 --labels balanced --out grid.png\n\n"
    "\b\nHelp on a command: ganmint COMMAND --help\n"
    "Documentation: docs/getting-started.md in the repository; docs/glossary.md explains the words",
)
@click.version_option(package_name="ganmint")
def cli() -> None:
    """Mint synthetic images from seeds: train a generator, publish it, sample it, serve it."""


# The options of the command line for the fields of the HTTP interface.
OPTIONS = {name: f"--{name}" for name in ("seed", "index", "labels", "psi", "device", "preset", "size", "fps")} | {
    "n": "--count",
    "frames": "--seconds times --fps",
    "stops": "ADDRESS",
}

# What the extra `train` brings, by the name of its module.
TRAINING_PACKAGES = ("jinja2", "matplotlib", "onnx", "tensorboard", "torch", "yaml")


def _describe(error: GanmintError) -> str:
    """Return the message, with a field named as the user typed it."""
    if isinstance(error, InputError):
        field, bracket, rest = error.field.partition("[")
        return f"{OPTIONS.get(field, field)}{bracket}{rest}: {error.reason}"
    return str(error)


def main() -> None:
    """Run the command line and exit."""
    memory.keep_freed()
    try:
        status = cli.main(prog_name="ganmint", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except GanmintError as error:
        click.echo(f"Error: {_describe(error)}", err=True)
        status = 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        # The reader, such as head, has stopped reading.
        status = 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        status = 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in TRAINING_PACKAGES:
            raise
        click.echo(
            f"Error: training needs {package}; install it with: pip install '.[train]' (in the checkout)", err=True
        )
        status = 1
    sys.exit(status)
