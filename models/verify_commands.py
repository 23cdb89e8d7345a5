"""The commands that look at picture files: inspect reads the marks, verify mints the images again and compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from models import artifact, content_credentials, store, verification
from models.address import Address
from models.cli import PATH, ModelCommand, device_option, write_output
from models.content_credentials import ContentCredentials
from models.errors import GanmintError, InputError
from models.files import read_file
from models.marks import read_marks
from models.picture_difference import Pixels, encode_difference
from models.picture_file import find_credentials
from models.runtime.loading import resolve_device
from models.sampler import Sampler
from models.verification import Comparison


@click.command(epilog="\b\nExample:\n  ganmint inspect three.png")
@click.argument("file", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(file: Path, as_json: bool) -> None:
    """Print the marks of a picture: the address that mints it, and whether it says that it is synthetic.

    Content Credentials (C2PA) are read and checked where the extra c2pa is installed. No model is needed, and nothing
    is minted and compared: ganmint verify does that.
    """
    data = read_file(file)
    marks = read_marks(data, str(file))
    credentials = content_credentials.read(data, marks.media_type) if find_credentials(data) else None
    if as_json:
        row = {"content_credentials": credentials.model_dump(mode="json") if credentials else None}
        click.echo(json.dumps({"file": str(file), **marks.model_dump(mode="json"), **row}, indent=2))
        return
    click.echo(f"{file}: {marks.media_type}, {marks.width}x{marks.height}")
    click.echo(f"says that it is synthetic: {'yes' if marks.is_synthetic else 'no'}")
    if credentials:
        click.echo(f"Content Credentials: {_printable(_describe_credentials(credentials))}")
    click.echo(f"addresses: {len(marks.addresses) or 'none'}")
    for address in marks.addresses:
        click.echo(f"  {_printable(address)}")


def _describe_credentials(credentials: ContentCredentials) -> str:
    problems = ", ".join(credentials.problems)
    if credentials.is_valid is None:
        return f"there are some; {problems}"
    who = f"signed by {credentials.signed_by or 'nobody known'}"
    if credentials.claim_generator:
        who += f" with {credentials.claim_generator}"
    if credentials.is_valid:
        return f"{who}; the signature is valid; whether to trust the signer was not checked"
    return f"{who}; the signature is NOT valid: {problems or 'no reason was given'}"


def _printable(text: str) -> str:
    """Return a text out of a file such that it cannot steer the terminal."""
    return text if text.isprintable() else ascii(text)


@click.command(
    cls=ModelCommand,
    epilog="\b\nExamples:\n  ganmint verify three.png\n  ganmint verify grid.png --diff differences.png",
)
@click.argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of lines.")
@click.option("--diff", type=PATH, help="Write a picture of the differences (.png); for one FILE.")
@device_option
@click.pass_context
def verify(context: click.Context, files: tuple[Path, ...], as_json: bool, diff: Path | None, device: str) -> None:
    """Tell whether pictures are still what their addresses mint.

    The address in each file is minted again by the model of the store, and the pixels are compared. The exit code
    is 0 if every file is what its address mints, and 1 otherwise.
    """
    if diff and len(files) > 1:
        raise InputError("needs one FILE", "--diff")
    models = Models(device)
    results = [_verify(file, models) for file in files]
    if as_json:
        click.echo(json.dumps([row for row, _ in results], indent=2))
    else:
        for row, _ in results:
            click.echo(f"{row['file']}: " + (row.get("error") or f"{_title(row)}: {row['detail']}"))
    if diff:
        _write_difference(diff, results[0][1])
    if not all(comparison and comparison.verification.is_good for _, comparison in results):
        context.exit(1)


class Models:
    """The models of the store, each loaded once."""

    def __init__(self, device: str) -> None:
        self._device = resolve_device(device)
        self._samplers: dict[tuple[str, str], Sampler] = {}

    def mint(self, addresses: list[Address]) -> Pixels:
        """Mint addresses of one model.

        Raises: ModelNotFoundError, InputError, ArtifactError.
        """
        sampler = self.load(addresses)
        return sampler.mint(verification.resolve(addresses, sampler.manifest))

    def load(self, addresses: list[Address]) -> Sampler:
        """Return the model of these addresses. Raises: ModelNotFoundError, ArtifactError."""
        key = (addresses[0].model, addresses[0].version)
        if key not in self._samplers:
            self._samplers[key] = artifact.load(store.find_version(*key).path, self._device)
        return self._samplers[key]


def _verify(file: Path, models: Models) -> tuple[dict[str, Any], Comparison | None]:
    """Return the row of a file, and the comparison unless the file cannot be judged."""
    try:
        comparison = verification.verify(read_file(file), models.mint, name=str(file))
    except GanmintError as error:
        return {"file": str(file), "error": str(error).removeprefix(f"{file}: ")}, None
    return {"file": str(file), **comparison.verification.model_dump(mode="json")}, comparison


def _title(row: dict[str, Any]) -> str:
    return verification.name_result(row["result"])


def _write_difference(path: Path, comparison: Comparison | None) -> None:
    if comparison is None or comparison.difference is None:
        click.echo(f"No picture of differences: {path} is not written", err=True)
        return
    write_output(path, encode_difference(comparison.difference), "--diff")
    click.echo(f"Wrote {path}", err=True)
