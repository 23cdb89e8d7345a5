"""What the command modules share: option types, options and the writing of results."""

from __future__ import annotations

from pathlib import Path

import click

from models.errors import FileError
from models.files import write_atomically

PATH = click.Path(path_type=Path)

device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


def write_output(path: Path, content: bytes, option: str = "--out") -> None:
    """Write a result file, whole or not at all.

    Args: option: the option that names the file.
    Raises: FileError naming the path, the reason and the option.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise FileError(path, f"cannot be written: {error.strerror or error}; choose another {option}") from None
