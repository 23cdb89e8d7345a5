"""What the command modules share: option types, options and the writing of results."""

from __future__ import annotations

from pathlib import Path

import click

from models.errors import FileError
from models.files import write_atomically

PATH = click.Path(path_type=Path)

device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="0 .. 2^53-1.")
index_option = click.option(
    "--index", type=int, default=0, show_default=True, help="Of the first image; the others follow."
)
psi_option = click.option(
    "--psi",
    type=float,
    default=1.0,
    show_default=True,
    help="Truncation, above 0 and at most 1: lower is less varied.",
)


def write_output(path: Path, content: bytes, option: str = "--out") -> None:
    """Write a result file, whole or not at all.

    Args: option: the option that names the file.
    Raises: FileError naming the path, the reason and the option.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise FileError(path, f"cannot be written: {error.strerror or error}; choose another {option}") from None
