"""What the command modules share: option types, options and the writing of results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import click

from models.errors import FileError, InputError
from models.files import write_atomically

PATH = click.Path(path_type=Path)
Ending = TypeVar("Ending", bound=str)

device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto: a GPU where torch finds one."
)
seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, help="The seed of all images, 0 .. 2^53-1."
)
index_option = click.option(
    "--index", type=int, default=0, show_default=True, help="The index of the first image; the others follow."
)
psi_option = click.option(
    "--psi",
    type=float,
    default=1.0,
    show_default=True,
    help="Truncation, above 0 and at most 1: lower is less varied.",
)

revision_option = click.option(
    "--to", type=PATH, help="Write the new version to this folder instead of the model store."
)

# As models.runtime.loading, models.signing and models.store read them; those are too heavy for a help text.
LOADING_VARIABLES = (
    ("GANMINT_RUNTIME=auto", "what runs the model: onnx, torchscript, or auto: onnx on the CPU where a model has it"),
    ("GANMINT_REQUIRE_SIGNED=0", "1: load only a model that is signed with a private key of GANMINT_PUBLIC_KEY"),
    ("GANMINT_PUBLIC_KEY=", "PEM files of public keys, comma-separated"),
    ("BENTOML_HOME=~/bentoml", "the folder of the model store"),
)


class ModelCommand(click.Command):
    """A command that loads models; its help has the variables that say from where and how."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Environment variables"):
            formatter.write_dl(LOADING_VARIABLES)


def read_ending(path: Path, endings: Iterable[Ending], option: str = "--out") -> Ending:
    """Return which of these a file's name ends in, in either case; they are written without the dot.

    Args: option: the option that names the file.
    Raises: InputError naming the option, with the endings.
    """
    for ending in endings:
        if path.suffix.lower() == f".{ending}":
            return ending
    raise InputError(f"must end in .{', .'.join(endings)}, got {path.name}", option)


def write_output(path: Path, content: bytes, option: str = "--out", written: str = "") -> None:
    """Write a result file, whole or not at all.

    Args:
        option: the option that names the file.
        written: what the command has written before, which stays where this fails.
    Raises: FileError naming the path, the reason and the option.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        stays = f"; {written} is written all the same" if written else ""
        raise FileError(path, f"cannot be written: {error.strerror or error}; choose another {option}{stays}") from None
