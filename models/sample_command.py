"""The command that mints to files: sample."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from models import artifact, images, store
from models.address import Address, parse_query
from models.cli import PATH, ModelCommand, device_option, index_option, psi_option, seed_option, write_output
from models.errors import InputError
from models.images import EXTENSIONS, MediaType
from models.labels import LabelSpec, parse_label, parse_labels
from models.latent_edits import (
    is_dimension_name,
    is_direction_name,
    name_direction,
    parse_dimension,
    parse_direction,
)
from models.level_edits import is_unit_name
from models.manifest import Manifest
from models.runtime.loading import resolve_device
from models.sampler import Sampler

MAX_GRID_IMAGES = 10_000
# Folders take names of 255 characters.
MAX_NAME = 120
# The options of the other parts of an address.
_OPTION_OF = {
    **{name: f"--{name}" for name in ("to", "at", "z", "paste")},
    "tolabel": "--to-label",
    "directions": "--direction",
    "units": "--unit",
}
# Of the parameters, what may stand beside an address.
_BESIDE_ADDRESS = frozenset({"model", "out", "extension", "device"})


@click.command(
    cls=ModelCommand,
    epilog="\b\nExamples:\n"
    "  ganmint sample digits --seed 7 --count 64 --labels balanced --out grid.png\n"
    "  ganmint sample digits --seed 7 --count 10 --labels 3,1,4,1,5,9,2,6,5,3 --out pictures\n"
    "  ganmint sample digits --seed 7 --labels 3 --to 8.0 --to-label 5 --at 0.5 --out between.png\n"
    "  ganmint sample faces --seed 7 --index 3 --paste 2_7.0_9_4_14_12 --out smile.png\n"
    "  ganmint sample 'digits/4.2.0/7/0?label=3&psi=0.7' --out three.png",
)
@click.argument("model", metavar="MODEL|ADDRESS")
@seed_option
@index_option
@click.option("--count", type=int, default=1, show_default=True, help="How many images; over HTTP this is n.")
@click.option(
    "--labels",
    help="A class by number, name or values (age=60+,gender=female, or as a JSON object), several with commas, or "
    '"balanced". Default: drawn from the seed.',
)
@psi_option
@click.option("--to", metavar="SEED.INDEX", help="Mix every image's latent with that of this seed and index.")
@click.option("--to-label", metavar="L", help="The class of --to, as for --labels, where it differs.")
@click.option("--at", metavar="T", help="The share of --to, above 0 and below 1, with at most 4 decimals.")
@click.option("--z", "edits", metavar="K=V", multiple=True, help="Set dimension K of every latent to V. Repeatable.")
@click.option(
    "--direction",
    "directions",
    metavar="NAME=V",
    multiple=True,
    help="Move every latent by V along a direction that the model's card names. Repeatable.",
)
@click.option(
    "--paste",
    "pastes",
    metavar="L_SEED.INDEX_Y0_X0_Y1_X1",
    multiple=True,
    help="Copy the feature maps of level L in a rectangle from another image (docs/addresses.md). Repeatable.",
)
@click.option(
    "--unit", "units", metavar="L.U=V", multiple=True, help="Set unit U of level L to V, or V_Y0_X0_Y1_X1. Repeatable."
)
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="A picture (.png, .jpg, .webp) of one image or a grid; otherwise a folder with one file per image.",
)
@click.option(
    "--format",
    "extension",
    type=click.Choice(list(EXTENSIONS)),
    default="png",
    show_default=True,
    help="The type of the files in a folder.",
)
@device_option
@click.pass_context
def sample(
    context: click.Context,
    model: str,
    seed: int,
    index: int,
    count: int,
    labels: str | None,
    psi: float,
    to: str | None,
    to_label: str | None,
    at: str | None,
    edits: tuple[str, ...],
    directions: tuple[str, ...],
    pastes: tuple[str, ...],
    units: tuple[str, ...],
    out: Path,
    extension: str,
    device: str,
) -> None:
    """Mint images to files. MODEL is a name or name/version.

    Each file has the very bytes that the service answers for the same address. In place of MODEL, a whole ADDRESS such
    as digits/4.2.0/7/0?label=3 mints that one image; quote it, because of its ? and &.
    """
    media_type = EXTENSIONS.get(out.suffix.lower().removeprefix("."))
    if not media_type and out.suffix and not out.is_dir():
        raise InputError(f"{out.name} is no known picture type; there are: .{', .'.join(EXTENSIONS)}", "--out")
    if media_type and count > MAX_GRID_IMAGES:
        raise InputError(f"one picture holds at most {MAX_GRID_IMAGES} images, got {count}; give a folder", "n")
    batch: _Batch | _OneAddress
    if _is_address(model):
        _refuse_options(context)
        sampler, batch = _load_address(model, device)
    else:
        sampler = artifact.load_files(store.read_artifact(store.find_model(model)), resolve_device(device))
        spec = None if labels is None else parse_labels(labels)
        tolabel = None if to_label is None else _find_label(sampler.manifest, to_label)
        query = _list_edits({"to": to, "tolabel": tolabel, "at": at}, edits, directions, pastes, units)
        with _naming_options():
            changes = parse_query("&".join(query)) if query else {}
        batch = _Batch(sampler.manifest, seed, index, count, spec, psi, changes)
    if media_type:
        _write_picture(sampler, batch.addresses(0, count), out, media_type)
    else:
        _write_files(sampler, batch, out, extension)


def _is_address(text: str) -> bool:
    """Tell whether a text is an address, or meant as one, and not name or name/version."""
    return "?" in text or text.count("/") > 1


def _refuse_options(context: click.Context) -> None:
    """Refuse the options that an address has itself.

    Raises: InputError naming the first that was given.
    """
    for option in context.command.params:
        name = option.name or ""
        is_given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if is_given and name not in _BESIDE_ADDRESS:
            message = "cannot be given beside an address, which says it all; change the address, or name a model"
            raise InputError(message, option.opts[0])


def _load_address(text: str, device: str) -> tuple[Sampler, _OneAddress]:
    """Load the model of an address.

    Raises: InputError naming the part of the address at fault; ModelNotFoundError.
    """
    try:
        requested = store.parse_address(text)
        files = store.read_artifact(store.find_model(f"{requested.model}/{requested.version}"))
        address = files.manifest.check(requested)
    except InputError as error:
        raise InputError(error.reason, "ADDRESS" if error.field == "address" else f"ADDRESS.{error.field}") from None
    return artifact.load_files(files, resolve_device(device)), _OneAddress(address)


def _find_label(manifest: Manifest, text: str) -> str:
    """Return --to-label as it stands in an address."""
    return str(manifest.find_label(parse_label(text, "--to-label"), "--to-label"))


def _list_edits(
    mix: dict[str, str | None],
    edits: tuple[str, ...],
    directions: tuple[str, ...],
    pastes: tuple[str, ...],
    units: tuple[str, ...],
) -> list[str]:
    """Return the options that edit images as they stand in an address.

    Raises: InputError naming an option of another form.
    """
    dimension_parts, unit_parts = [f"z{edit}" for edit in edits], [f"u{unit}" for unit in units]
    direction_parts = [name_direction(edit) for edit in directions]
    for option, form, is_name, texts, parts in (
        ("--z", "K=V such as 12=-1.5", is_dimension_name, edits, dimension_parts),
        ("--direction", "NAME=V such as slant=1.5", is_direction_name, directions, direction_parts),
        ("--unit", "L.U=V such as 2.14=4", is_unit_name, units, unit_parts),
    ):
        for text, part in zip(texts, parts):
            if "=" not in part or not is_name(part.partition("=")[0]):
                raise InputError(f"must be {form}, got {text[:60]!r}", option)
    for field, value in mix.items():
        if value is not None and mix["to"] is None:
            raise InputError("is of no use without --to SEED.INDEX", _name_option(field))
    if mix["to"] is not None and mix["at"] is None:
        raise InputError("needs --at T: its share, above 0 and below 1, such as 0.5", "--to")
    query = [f"{name}={value}" for name, value in mix.items() if value is not None]
    return query + dimension_parts + direction_parts + [f"paste={paste}" for paste in pastes] + unit_parts


@contextlib.contextmanager
def _naming_options() -> Iterator[None]:
    """Name the option where an error in the block names a part of an address."""
    try:
        yield
    except InputError as error:
        raise InputError(error.reason, _name_option(error.field)) from None


def _name_option(field: str) -> str:
    """Return what was typed for a part of an address, such as `--direction age` for `dir.age`."""
    if is_direction_name(field):
        return f"--direction {parse_direction(field)}"
    if is_dimension_name(field):
        return f"--z {parse_dimension(field)}"
    if is_unit_name(field):
        return f"--unit {field[1:]}"
    return _OPTION_OF.get(field, field)


@dataclass(frozen=True)
class _OneAddress:
    """The image of an address, in the place of a `_Batch`."""

    address: Address
    count: int = 1

    def addresses(self, start: int, n: int) -> list[Address]:
        """Return the address."""
        return [self.address][start : start + n]

    def check(self) -> None:
        """Do nothing: it was checked when it was read."""


@dataclass(frozen=True)
class _Batch:
    """The images that a call of `sample` asks for.

    Attributes:
        manifest: of the model.
        seed, index, count, labels, psi: as in `Manifest.addresses`.
        edits: further arguments of every address.
    """

    manifest: Manifest
    seed: int
    index: int
    count: int
    labels: LabelSpec
    psi: float
    edits: dict[str, Any]

    def addresses(self, start: int, n: int) -> list[Address]:
        """Return the addresses of images start .. start + n - 1."""
        labels = self.labels[start : start + n] if isinstance(self.labels, list) and n < self.count else self.labels
        plain = self.manifest.addresses(self.seed, self.index + start, n, labels, self.psi)
        if not self.edits:
            return plain
        # Where no label was named, the other end's is drawn, too.
        unlabelled: dict[str, Any] = {"label": None} if labels is None else {}
        with _naming_options():
            return [self.manifest.check(replace(address, **self.edits, **unlabelled)) for address in plain]

    def check(self) -> None:
        """Check the whole request before the first file is written; for plain addresses, the last tells."""
        self.manifest.addresses(self.seed, self.index + max(self.count, 1) - 1, 1, None, self.psi)
        if isinstance(self.labels, list) or self.count < 1 or self.edits:
            self.addresses(0, self.count)


def _write_picture(sampler: Sampler, addresses: list[Address], out: Path, media_type: MediaType) -> None:
    texts = [str(address) for address in addresses]
    write_output(out, images.encode_one_or_grid(sampler.mint(addresses), media_type, texts))
    first = f"{texts[0]}{_describe_label(sampler.manifest, addresses[0])}"
    click.echo(f"Wrote {out}: {len(texts)} image{'s' * (len(texts) > 1)} beginning with {first}")


def _describe_label(manifest: Manifest, address: Address) -> str:
    """Say what an address's label stands for, such as ` (age 37.24)`; "" where its number is its name."""
    name = manifest.class_name(address.label)
    if name is None or name == str(address.label):
        return ""
    return f" ({f'{manifest.continuous_label} {name}'.lstrip()})"


def _write_files(sampler: Sampler, batch: _Batch | _OneAddress, out: Path, extension: str) -> None:
    batch.check()
    for start in range(0, batch.count, sampler.batch_size):
        addresses = batch.addresses(start, min(sampler.batch_size, batch.count - start))
        for address, pixels in zip(addresses, sampler.mint(addresses)):
            write_output(
                out / f"{make_file_name(address)}.{extension}",
                images.encode(pixels, EXTENSIONS[extension], str(address)),
            )
    click.echo(f"Wrote {batch.count} image{'s' * (batch.count > 1)} to {out}")


def make_file_name(address: Address) -> str:
    """Return an address as a file's name, without the ending: the whole, or the hash of one that is too long.

    `/play` gives files the same names.
    """
    text = str(address)
    name = text.translate(str.maketrans("/?&", "___"))
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}-{_hash(text)}"


def _hash(text: str) -> str:
    """Return FNV-1a of 32 bits, in 8 hexadecimal digits."""
    value = 2_166_136_261
    for byte in text.encode():
        value = (value ^ byte) * 16_777_619 % 2**32
    return f"{value:08x}"
