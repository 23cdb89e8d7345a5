"""The commands that use models: models, sample, serve.

Knows: options, and what is printed. Does not know: how sampling, storing or serving works.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import socket
import sys
from pathlib import Path

import click

from models import artifact, images, manifest, signing, store
from models.address import Address
from models.cli import PATH, device_option
from models.errors import InputError, ModelNotFoundError
from models.files import write_atomically
from models.images import EXTENSIONS, MediaType
from models.manifest import LabelSpec, Manifest
from models.model_card import render_model_card
from models.runtime.loading import resolve_device
from models.sampler import Sampler
from service.auth import Authenticator, create_key
from service.settings import Settings, read_settings

LARGEST_GRID = 10_000


@click.group()
def models() -> None:
    """List, show, verify, sign and install models in the store (BENTOML_HOME, or ~/bentoml)."""


@models.command("list", epilog="\b\nExample:\n  ganmint models list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def list_(as_json: bool) -> None:
    """List every version in the store."""
    cards = [(stored, manifest.read(stored.path)) for name in store.names() for stored in store.versions(name)]
    if as_json:
        rows = [{"name": s.name, "version": s.version, "path": str(s.path)} for s, _ in cards]
        click.echo(json.dumps(rows, indent=2))
        return
    if not cards:
        click.echo("The store is empty. Install the bundled models with: ganmint models install")
        return
    click.echo(f"{'MODEL':24} {'VERSION':10} {'IMAGES':10} {'CLASSES':8} {'KIMG':>8}  TRAINED ON")
    for stored, card in cards:
        click.echo(
            f"{stored.name:24} {stored.version:10} {_size(card):10} {len(card.class_names) or '-':<8} "
            f"{card.training.kimg:8.0f}  {card.training.data.name}"
        )


@models.command(epilog="\b\nExamples:\n  ganmint models show digits\n  ganmint models show digits/3.0.0 --json")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="manifest.json as it is.")
def show(model: str, as_json: bool) -> None:
    """Show a model's card. MODEL is a name or name/version."""
    stored = store.find_model(model)
    card = manifest.read(stored.path)
    if as_json:
        click.echo(manifest.dump(card), nl=False)
        return
    click.echo(render_model_card(card))
    click.echo(f"## Files\n\n- digest: {artifact.digest(stored.path)}\n- folder: {stored.path}")


@models.command(
    epilog="\b\nExamples:\n"
    "  ganmint models verify\n"
    "  ganmint models verify models/pretrained/digits\n"
    "  ganmint models verify digits --public-key key.pub"
)
@click.argument("model", required=False)
@device_option
@click.option("--public-key", type=PATH, help="PEM; check the signature by this key, too.")
def verify(model: str | None, device: str, public_key: Path | None) -> None:
    """Check hashes and goldens. MODEL is a name, name/version, or an artifact folder; without it, the whole store."""
    if model is None:
        folders = [stored.path for name in store.names() for stored in store.versions(name)]
    else:
        folders = [store.find_artifact(model)]
    for folder in folders:
        _verify(folder, device, public_key)


def _verify(folder: Path, device: str, public_key: Path | None) -> None:
    # First: what comes next reads files that anyone may have written.
    if public_key:
        signing.verify(folder, public_key)
    card = artifact.check_files(folder)
    if public_key:
        click.echo(f"{card.name} {card.version}: signed by the key of {public_key}")
    click.echo(f"{card.name} {card.version}: {len(card.files)} files have the hashes that manifest.json names")
    sampler = artifact.load(folder, resolve_device(device))
    worst = artifact.check_goldens(sampler, folder / artifact.GOLDEN)
    click.echo(f"goldens match to {worst} of 255 on {sampler.fingerprint}")


@models.command(epilog="\b\nExample:\n  ganmint models sign digits --private-key key.pem")
@click.argument("model")
@click.option("--private-key", type=PATH, required=True, help="PEM, elliptic curve P-256, P-384 or P-521. "
              "GANMINT_KEY_PASSWORD is its password.")  # fmt: skip
def sign(model: str, private_key: Path) -> None:
    """Sign a model with your own key. MODEL is a name, name/version, or an artifact folder.

    The signature (OpenSSF Model Signing) is a file, model.sig, beside the model's: name, version and digest
    stay. A service with GANMINT_REQUIRE_SIGNED=1 and GANMINT_PUBLIC_KEY serves nothing else. Keys are made by:

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out key.pub
    """
    folder = store.find_artifact(model)
    card = artifact.check_files(folder)
    path = signing.sign(folder, private_key, os.environ.get("GANMINT_KEY_PASSWORD"))
    click.echo(f"Signed {card.name} {card.version} ({artifact.digest(folder)[:12]}): {path}")


@models.command(epilog="\b\nExamples:\n  ganmint models install\n  ganmint models install models/pretrained/digits")
@click.argument("folders", nargs=-1, type=PATH)
def install(folders: tuple[Path, ...]) -> None:
    """Put artifact folders into the store; without any, the bundled models."""
    for folder in folders or store.pretrained():
        stored = store.install(folder)
        click.echo(f"{stored} is in the store: {stored.path}")


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint sample digits --seed 7 --count 64 --labels balanced --out grid.png\n"
    "  ganmint sample digits --seed 7 --count 10 --labels 3,1,4,1,5,9,2,6,5,3 --out pictures"
)
@click.argument("model")
@click.option("--seed", type=int, default=0, show_default=True, help="0 .. 2^53-1.")
@click.option("--index", type=int, default=0, show_default=True, help="Of the first image; the others follow.")
@click.option("--count", type=int, default=1, show_default=True, help="How many images.")
@click.option("--labels", help='A label, a comma-separated list, or "balanced". Default: drawn from the seed.')
@click.option("--psi", type=float, default=1.0, show_default=True, help="Truncation, above 0 and at most 1.")
@click.option("--out", type=PATH, required=True, help="A picture (.png, .jpg, .webp): one image or a grid. "
              "Otherwise a folder: one file per image.")  # fmt: skip
@click.option("--format", "extension", type=click.Choice(list(EXTENSIONS)), default="png", show_default=True,
              help="Of the files in a folder.")  # fmt: skip
@device_option
def sample(
    model: str,
    seed: int,
    index: int,
    count: int,
    labels: str | None,
    psi: float,
    out: Path,
    extension: str,
    device: str,
) -> None:
    """Mint images to files. MODEL is a name or name/version.

    Each file is byte for byte what the service answers for the same address.
    """
    sampler = artifact.load(store.find_model(model).path, resolve_device(device))
    card, wanted = sampler.manifest, _labels(labels)
    media_type = EXTENSIONS.get(out.suffix.removeprefix("."))
    if media_type:
        if count > LARGEST_GRID:
            raise InputError(f"one picture holds at most {LARGEST_GRID} images, got {count}; give a folder", "n")
        addresses = card.addresses(seed, index, count, wanted, psi)
        write_atomically(out, _picture(sampler, addresses, media_type))
        click.echo(f"Wrote {out}: {count} image{'s' * (count > 1)} beginning with {addresses[0]}")
        return
    if out.suffix and not out.is_dir():
        raise InputError(f"{out.name} is no known picture type; there are: .{', .'.join(EXTENSIONS)}", "--out")
    # The whole request is checked before the first file is written; the far end stands for the range.
    card.addresses(seed, index + max(count, 1) - 1, 1, None, psi)
    if isinstance(wanted, list) or count < 1:
        card.addresses(seed, index, count, wanted, psi)
    for start in range(0, count, sampler.batch_size):
        size = min(sampler.batch_size, count - start)
        part = wanted[start : start + size] if isinstance(wanted, list) else wanted
        addresses = card.addresses(seed, index + start, size, part, psi)
        for address, pixels in zip(addresses, sampler.mint(addresses)):
            name = f"{address.model}_{address.version}_{address.seed}_{address.index}.{extension}"
            write_atomically(out / name, images.encode(pixels, EXTENSIONS[extension], str(address)))
    click.echo(f"Wrote {count} images to {out}")


def _picture(sampler: Sampler, addresses: list[Address], media_type: MediaType) -> bytes:
    return images.encode_one_or_grid(sampler.mint(addresses), media_type, [str(a) for a in addresses])


def _labels(text: str | None) -> LabelSpec:
    if text is None:
        return None
    if text == "balanced":
        return "balanced"
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f'must be a label, a comma-separated list or "balanced", got {text!r}', "--labels") from None
    return values if "," in text else values[0]


def _size(card: Manifest) -> str:
    return f"{card.image.height}x{card.image.width}{' RGB' if card.image.channels == 3 else ''}"


@click.command(epilog="\b\nExample:\n  ganmint serve --port 3000")
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to bind to.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def serve(host: str, port: int) -> None:
    """Serve every model in the store over HTTP.

    Environment variables configure the service. With their defaults:

    \b
    GANMINT_MODELS=            names to serve, comma-separated; empty: all
    GANMINT_DEVICE=auto        auto, cpu, cuda or cuda:N
    GANMINT_WORKERS=1          processes, each with its own copy of the models
    GANMINT_MAX_N=1024         most images in one request
    GANMINT_QUEUE_IMAGES=4096  most images that wait per model; more get a 429
    GANMINT_TIMEOUT_S=30       most seconds for a request
    GANMINT_DRAIN_PAUSE_S=0    seconds to keep serving after SIGTERM, not ready
    GANMINT_API_KEYS_FILE=     JSON list of API keys (ganmint keys new);
                               empty: no key is needed
    GANMINT_REQUIRE_SIGNED=0   1: serve only models signed with the private key
                               of GANMINT_PUBLIC_KEY, a PEM file
    GANMINT_CORS_ORIGINS=      web origins that browsers may call from, or *
    GANMINT_ACCESS_LOG=0       1: one JSON line per request on standard error
    GANMINT_POLL_S=5           seconds between looks for new models and keys
    """
    settings = read_settings()
    _check_startup(settings)
    url = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port}"
    _check_port(host, port)
    has_keys = bool(settings.api_keys_file or settings.api_keys)
    if not ipaddress.ip_address(host).is_loopback and not has_keys:
        warning = (
            f"WARNING: {host} can be reached from other machines and no API keys are set: anyone may use this service. "
            "Set GANMINT_API_KEYS_FILE (ganmint keys new) or bind to 127.0.0.1."
        )
        click.secho(warning, fg="red", bold=True, err=True)
    names = sorted(settings.names) or store.names()
    click.echo(f"Starting on {url}: loading and checking {', '.join(names)}", err=True)
    sys.stdout.flush()
    command = [sys.executable, "-m", "bentoml", "serve", "service.bento:Ganmint", "--quiet"]
    command += ["--working-dir", str(Path(__file__).parent.parent), "--host", host, "--port", str(port)]
    command += ["--timeout-graceful-shutdown", str(math.ceil(settings.timeout_s) + 5)]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "true", "GANMINT_ANNOUNCE_URL": url}
    os.execve(sys.executable, command, environment)


def _check_startup(settings: Settings) -> None:
    """Refuse what would stop the workers: one clear line now, rather than workers that never start."""
    Authenticator(settings.api_keys_file, settings.api_keys)
    if not store.names():
        raise ModelNotFoundError(f"no model in {store.home()}; install the bundled ones with: ganmint models install")
    if settings.trusted_key:
        signing.check_key(settings.trusted_key)
    missing = sorted(settings.names - set(store.names()))
    if missing:
        raise ModelNotFoundError(f"GANMINT_MODELS names {missing[0]!r}; there are: {', '.join(store.names())}")


def _check_port(host: str, port: int) -> None:
    """Check that the port is free: one clear line now, rather than a worker's stack trace later.

    Raises:
        InputError: names the option at fault.
    """
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        raise InputError(f"{host!r} is not an IP address", "--host") from None
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}:{port}: {error.strerror}; try another --port", "--port"
            ) from None


@click.group()
def keys() -> None:
    """Make API keys for the service."""


@keys.command(epilog="\b\nExample:\n  ganmint keys new laboratory")
@click.argument("name")
def new(name: str) -> None:
    """Make a key for NAME and print it with its record for the key file.

    The key itself is printed only once. The file is a JSON list of records; requests_per_minute and
    images_per_minute are optional. A running service reads a changed file within seconds.
    """
    secret, record = create_key(name)
    click.echo(f"Key, printed only once (Authorization: Bearer KEY):\n{secret}\n\nRecord for the list in the key file:")
    click.echo(record.model_dump_json(indent=2))
