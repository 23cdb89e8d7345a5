"""The commands that look after models."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click

from models import artifact, goldens, signing, store, transfer
from models import upgrade as upgrading
from models.cli import PATH, ModelCommand, device_option
from models.errors import FileError, GanmintError
from models.evidence import format_kimg
from models.manifest import Manifest, dump_manifest, read_manifest
from models.model_card import render_model_card
from models.runtime.loading import resolve_device
from models.store import StoredModel

T = TypeVar("T")


@click.group()
def models() -> None:
    """List, show, verify, sign, upgrade, install, push, pull models.

    They are in the model store: in BENTOML_HOME, or in ~/bentoml.
    """


@models.command("list", epilog="\b\nExample:\n  ganmint models list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def list_models(as_json: bool) -> None:
    """List every version in the store."""
    stored_models = [stored for name in store.list_names() for stored in store.list_versions(name)]
    if as_json:
        rows = [{"name": s.name, "version": s.version, "path": str(s.path)} for s in stored_models]
        click.echo(json.dumps(rows, indent=2))
        return
    if not stored_models:
        click.echo("The store is empty. Install the bundled models with: ganmint models install")
        return
    click.echo(f"{'MODEL':24} {'VERSION':10} {'IMAGES':10} {'CLASSES':8} {'KIMG':>8}  TRAINED ON")
    _do_for_all(stored_models, _print_row)


def _print_row(stored: StoredModel) -> None:
    manifest = read_manifest(stored.path)
    click.echo(
        f"{stored.name:24} {stored.version:10} {_size_text(manifest):10} {len(manifest.class_names) or '-':<8} "
        f"{format_kimg(manifest.training.kimg):>8}  {manifest.training.data.name}"
    )


def _do_for_all(items: Iterable[T], act: Callable[[T], None]) -> None:
    """Act on every item, name each one that is damaged, and exit with 1 if there was any."""
    is_any_damaged = False
    for item in items:
        try:
            act(item)
        except FileError as error:
            click.echo(f"Error: {error}", err=True)
            is_any_damaged = True
    if is_any_damaged:
        raise click.exceptions.Exit(1)


@models.command(epilog="\b\nExamples:\n  ganmint models show digits\n  ganmint models show digits/4.2.0 --json")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print manifest.json as it is.")
def show(model: str, as_json: bool) -> None:
    """Show a model's card. MODEL is a name or name/version."""
    stored = store.find_model(model)
    manifest = read_manifest(stored.path)
    if as_json:
        click.echo(dump_manifest(manifest), nl=False)
        return
    click.echo(render_model_card(manifest))
    click.echo(f"## Files\n\n- digest: {artifact.digest(stored.path)}\n- folder: {stored.path}")
    if state := store.find_training_state(stored.path):
        size_mb = state.stat().st_size / 1e6
        click.echo(f"- training state, for ganmint train --init: {state} ({size_mb:.1f} MB)")


@models.command(
    cls=ModelCommand,
    epilog="\b\nExamples:\n"
    "  ganmint models verify\n"
    "  ganmint models verify models/pretrained/digits\n"
    "  ganmint models verify digits --public-key key.pub",
)
@click.argument("model", required=False)
@device_option
@click.option("--public-key", type=PATH, help="PEM; check the signature by this key, too.")
def verify(model: str | None, device: str, public_key: Path | None) -> None:
    """Check models' files and test images.

    MODEL is a name, name/version, or a model's folder. Without it, the whole store is checked; a model that fails
    does not keep the others from being checked. Files must have
    the hashes that the model's manifest names. The test images (goldens) came with the model: they are minted
    again and compared.
    """
    if model is None:
        folders = [stored.path for name in store.list_names() for stored in store.list_versions(name)]
    else:
        folders = [store.find_artifact(model)]
    device = resolve_device(device)
    _do_for_all(folders, lambda folder: _verify(folder, device, public_key))


def _verify(folder: Path, device: str, public_key: Path | None) -> None:
    files = artifact.read(folder, signing.Trust((public_key,)) if public_key else None)
    manifest = files.manifest
    title = f"{manifest.name} {manifest.version}"
    if public_key:
        click.echo(f"{title}: signed by the key of {public_key}")
    num_files = len(manifest.files.keys() - {artifact.TRAINING_STATE})
    click.echo(f"{title}: {num_files} files have the hashes that manifest.json names")
    sampler = artifact.load_files(files, device)
    largest_difference = goldens.check_goldens(sampler, files)
    if state := store.find_training_state(folder):
        click.echo(f"{title}: {state} has the hash that manifest.json names; ganmint train --init can start from it")
    click.echo(f"goldens match to {largest_difference} of 255 on {sampler.fingerprint}")


@models.command(epilog="\b\nExample:\n  ganmint models sign digits --private-key key.pem")
@click.argument("model")
@click.option(
    "--private-key",
    type=PATH,
    required=True,
    help="PEM, elliptic curve P-256, P-384 or P-521. GANMINT_KEY_PASSWORD is its password.",
)
def sign(model: str, private_key: Path) -> None:
    """Sign a model with your own key.

    MODEL is a name, name/version, or a model's folder. The signature (OpenSSF Model Signing) is a file,
    model.sig, beside the model's; name, version and digest stay as they are. A service with
    GANMINT_REQUIRE_SIGNED=1 and GANMINT_PUBLIC_KEY serves only models with such a signature. To make keys:

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub
    """
    folder = store.find_artifact(model)
    manifest = artifact.check_files(folder)
    path = signing.sign(folder, private_key, os.environ.get("GANMINT_KEY_PASSWORD"))
    click.echo(f"Signed {manifest.name} {manifest.version} ({artifact.digest(folder)[:12]}): {path}")


@models.command(epilog="\b\nExamples:\n  ganmint models install\n  ganmint models install models/pretrained/digits")
@click.argument("folders", nargs=-1, type=PATH)
def install(folders: tuple[Path, ...]) -> None:
    """Put models into the store.

    FOLDERS are models' folders (artifacts), as ganmint publish writes them. Without, the bundled models are installed.
    """
    for folder in folders or store.list_bundled():
        stored = store.install(folder)
        click.echo(f"{stored} is in the store: {stored.path}")


@models.command(
    epilog="\b\nExamples:\n"
    "  ganmint models push digits s3://bucket/models\n"
    "  ganmint models push digits/4.2.0 digits.bentomodel"
)
@click.argument("model")
@click.argument("url")
def push(model: str, url: str) -> None:
    """Write a model of the store to a URL.

    MODEL is a name or name/version. URL is a folder or a .bentomodel file, on disk or anywhere that fsspec knows
    (s3://, gs://). The signature goes with it. ganmint models pull fetches it into another store.
    """
    stored = store.find_model(model)
    click.echo(f"{stored} is at {transfer.push(stored, url)}")


@models.command(
    epilog="\b\nExamples:\n"
    "  ganmint models pull s3://bucket/models/digits-4.2.0.bentomodel\n"
    "  ganmint models pull s3://bucket/models --every 60",
)
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(1),
    metavar="SECONDS",
    help="Go on, and look so often for files that are new or have changed. SIGTERM ends it.",
)
def pull(urls: tuple[str, ...], every_s: float | None) -> None:
    """Fetch models from URLs into the store.

    URL is a .bentomodel file, as ganmint models push writes it, or a folder of them. Hashes, goldens and, with
    GANMINT_REQUIRE_SIGNED=1, the signature are checked before a model appears in the store. In a folder, a file that
    fails is named and left out; the exit code is 1 where a URL has no model that passes.
    """
    pulled: dict[str, str] = {}
    if every_s is None:
        for url in urls:
            _pull_changes(url, pulled)
        return
    # The first process of a container ignores SIGTERM, unless it says otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    while True:
        for url in urls:
            try:
                _pull_changes(url, pulled)
            except GanmintError as error:
                click.echo(f"Not pulled: {error}", err=True)
        time.sleep(every_s)


def _pull_changes(url: str, pulled: dict[str, str]) -> None:
    """Pull the models at a URL that are not in `pulled` as they are now, and note them there.

    Raises: the first error, when none of them passes.
    """
    archives = {file: state for file, state in transfer.list_archives(url).items() if pulled.get(file) != state}
    failures = []
    for file, state in archives.items():
        try:
            stored = transfer.pull(file)
        except GanmintError as error:
            failures.append(error)
            continue
        pulled[file] = state
        click.echo(f"{stored} is in the store: {stored.path}")
    is_without_model = len(failures) == len(archives)
    for failure in failures[1:] if is_without_model else failures:
        click.echo(f"Not pulled: {failure}", err=True)
    if failures and is_without_model:
        raise failures[0]


@models.command(
    epilog="\b\nExamples:\n"
    "  ganmint models upgrade digits/3.0.0\n"
    "  ganmint models upgrade digits/3.0.0 --to digits-3.1.0 --batch-size 16"
)
@click.argument("model")
@click.option("--to", type=PATH, help="Write the model's folder here instead of into the store.")
@click.option("--batch-size", type=click.IntRange(1, 1024), help="The CPU's batch, instead of measuring it.")
def upgrade(model: str, to: Path | None, batch_size: int | None) -> None:
    """Make a version of an older model that has today's files.

    MODEL is a name, name/version, or a model's folder. The new version has the same weights, scores and data,
    and the next minor number: 3.0.0 becomes 3.1.0. Its images may differ by 1 of 255. The old version stays.
    Models of schema 1, from before Ganmint ran on onnxruntime, are slower to serve and need torch.
    """
    folder = store.find_artifact(model)
    old = read_manifest(folder)
    upgraded = upgrading.upgrade(folder, to, batch_size)
    click.echo(f"Upgraded {old.name} {old.version} to {upgraded.version}: {upgraded.path}")


def _size_text(manifest: Manifest) -> str:
    return f"{manifest.image.width}x{manifest.image.height}{' RGB' if manifest.image.channels == 3 else ''}"
