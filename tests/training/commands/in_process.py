"""Run commands in this process, where a test can look at what they raise."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from ganmint.cli import cli


def ganmint(*arguments: Path | str) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])
