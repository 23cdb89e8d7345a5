"""The command that signs picture files with Content Credentials: sign-images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from models import verification
from models.cli import PATH, ModelCommand, device_option, write_output
from models.content_credentials import Signer, describe_image, load_signing_key
from models.errors import FileError, GanmintError, InputError
from models.files import read_file
from models.picture_file import find_credentials
from models.verify_commands import Models

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
# What a folder of `ganmint export` has (service.export.state).
EXPORT_FILE = Path(".ganmint", "job.json")


class _Job(NamedTuple):
    """A picture file and where its signed one goes, which may be the same place."""

    source: Path
    target: Path


@click.command(
    cls=ModelCommand,
    epilog="\b\nExamples:\n"
    "  ganmint sign-images three.png --key key.pem --cert chain.pem\n"
    "  ganmint sign-images pictures --key key.pem --cert chain.pem --out signed",
)
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="FILE-OR-FOLDER...")
@click.option("--key", required=True, type=PATH, help="Private key (PEM, not encrypted).")
@click.option("--cert", required=True, type=PATH, help="Its certificate chain (PEM): its own first, then its issuers'.")
@click.option("--out", type=PATH, help="A folder for the signed files. Default: each replaces its original.")
@device_option
@click.pass_context
def sign_images(
    context: click.Context, paths: tuple[Path, ...], key: Path, cert: Path, out: Path | None, device: str
) -> None:
    """Sign PNG, JPEG and WebP files with Content Credentials (C2PA): they are synthetic, and which address made them.

    A file is signed only if it is what its address mints, by the model in the store. One that has Content Credentials
    already is left as it is. Each file is replaced whole or not at all; the exit code is 1 if any was refused.
    """
    jobs = list(_find_jobs(paths, out))
    signer = Signer(load_signing_key(key, cert, "--key"), cert)
    models = Models(device)
    signed = refused = 0
    for job in jobs:
        try:
            data = read_file(job.source)
            file = _sign(data, job.source, signer, models)
        except GanmintError as error:
            click.echo(f"Refused: {job.source}: {str(error).removeprefix(f'{job.source}: ')}", err=True)
            refused += 1
            continue
        if job.target != job.source or file != data:
            write_output(job.target, file)
        signed += file != data
    passed = len(jobs) - signed - refused
    click.echo(f"{signed} signed, {passed} had Content Credentials already, {refused} refused")
    if refused:
        context.exit(1)


def _find_jobs(paths: tuple[Path, ...], out: Path | None) -> Iterator[_Job]:
    """Yield the pictures that are meant, those of a folder in order; raises InputError and FileError."""
    targets: dict[Path, Path] = {}
    for path in paths:
        pictures = [path]
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
            # The signed ones may lie in the same folder.
            pictures = sorted(p for p in inside if out is None or out.absolute() not in p.absolute().parents)
            if not pictures:
                raise FileError(path, f"holds no pictures ({', '.join(PICTURES)})")
        elif not path.is_file():
            raise FileError(path, "is not there")
        for picture in pictures:
            name = picture.relative_to(path) if path.is_dir() else Path(picture.name)
            target = out / name if out else picture
            if (other := targets.setdefault(target, picture)) != picture:
                raise InputError(f"{other} and {picture} would both become {target}; sign them one by one", "--out")
            if export := _find_export(target):
                message = f"is in {export}, an export with digests of its files; give --out, or sign while exporting"
                raise FileError(target, message)
            yield _Job(picture, target)


def _find_export(path: Path) -> Path | None:
    return next((folder for folder in path.absolute().parents if (folder / EXPORT_FILE).is_file()), None)


def _sign(data: bytes, source: Path, signer: Signer, models: Models) -> bytes:
    """Return the signed file; one with Content Credentials as it is.

    Raises: GanmintError, also when it is not what its address mints.
    """
    claim = verification.read_claim(data, name=str(source))
    if find_credentials(data):
        return data
    comparison = verification.verify(data, models.mint, name=str(source)).verification
    if not comparison.is_good:
        raise FileError(source, f"{verification.name_result(comparison.result)}: {comparison.detail}")
    addresses = claim.addresses
    manifest = models.load(addresses).manifest
    title = str(addresses[0]) if len(addresses) == 1 else f"{len(addresses)} images of {manifest.name}"
    return signer.sign(data, claim.marks.media_type, title, describe_image(addresses, manifest))
