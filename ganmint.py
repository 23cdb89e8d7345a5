"""The command line: mounts the commands of training/ and service/, and turns errors into exit codes.

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

import click

from models import memory
from models.errors import GanmintError, InputError

# Command -> where it lives; imported when it is asked for, so that `ganmint serve` needs no trainer.
COMMANDS = {
    "train": "training.commands.train",
    "evaluate": "training.commands.evaluate",
    "publish": "training.commands.evaluate",
    "data": "training.commands.data",
    "movie": "training.commands.runs",
    "compare": "training.commands.runs",
    "models": "service.commands",
    "sample": "service.commands",
    "export": "service.export.commands",
    "dataset": "service.export.commands",
    "serve": "service.commands",
    "keys": "service.commands",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with _exit_on_signals():
            command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


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


@click.group(cls=_LazyGroup, context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ganmint")
def cli() -> None:
    """Mint synthetic images from seeds: train a generator, publish it, sample it, serve it."""


# Fields that the command line calls otherwise than the HTTP interface does.
OPTIONS = {name: f"--{name}" for name in ("seed", "index", "labels", "psi", "device", "preset")} | {"n": "--count"}


def _as_typed(error: GanmintError) -> str:
    if isinstance(error, InputError):
        field, bracket, rest = error.field.partition("[")
        return f"{OPTIONS.get(field, field)}{bracket}{rest}: {error.reason}"
    return str(error)


def main() -> None:
    """Run the command line."""
    memory.keep_freed()
    try:
        status = cli.main(prog_name="ganmint", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except GanmintError as error:
        click.echo(f"Error: {_as_typed(error)}", err=True)
        status = 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        # The reader, such as head, has seen enough.
        status = 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        status = 1
    except ModuleNotFoundError as error:
        if error.name not in ("yaml", "tensorboard", "matplotlib", "jinja2"):
            raise
        click.echo(f"Error: training needs {error.name}; install it with: pip install 'ganmint[train]'", err=True)
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
