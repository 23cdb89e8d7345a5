"""The command that looks at data before training: data check.

Knows: options, and how findings are shown. Does not know: how they are found.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable
from pathlib import Path

import click
from PIL import Image

from models.cli import PATH, write_output
from models.errors import GanmintError, InputError
from training.config import preset_for
from training.data.inspection import DatasetReport, Pixels, inspect_dataset
from training.data.labels import LabelColumn

# How many findings of a kind are listed.
LISTED = 10
# Adaptive augmentation is for "only a few thousand training images" (Karras et al., arXiv 2006.06676, abstract).
FEW = 5000


@click.group()
def data() -> None:
    """Look at data before training on it."""


@data.command(epilog="\b\nExample:\n  ganmint data check tests/data/digits --sheet sheet.png")
@click.argument("path", type=PATH)
@click.option("--label", "columns", multiple=True, metavar="COLUMN", help="A csv column that is part of the label, as "
              "data.labels in training. Repeatable.")  # fmt: skip
@click.option("--sheet", type=PATH, help="Write a PNG of some of the pictures, one class a column.")
def check(path: Path, columns: tuple[str, ...], sheet: Path | None) -> None:
    """Go through every picture at PATH: sizes, classes, damage, duplicates, and whether it can be trained on.

    PATH is whatever train takes as its data. Ends with exit code 1 if something keeps a training from starting.
    """
    found, pictures = inspect_dataset(path, tuple(LabelColumn(column=column) for column in columns))
    for line in _lines(path, found):
        click.echo(line)
    if sheet and pictures is not None:
        _write(sheet, pictures)
        click.echo(f"sheet: {sheet}")
    if found.obstacles:
        raise GanmintError(f"{path} cannot be trained on yet: {'; '.join(found.obstacles)}")
    click.echo(_verdict(path, found, columns))


def _write(path: Path, pictures: Pixels) -> None:
    """A plain PNG: models.images would mark it as synthetic, which training data is not."""
    buffer = io.BytesIO()
    Image.fromarray(pictures[..., 0] if pictures.shape[2] == 1 else pictures).save(buffer, "PNG")
    write_output(path, buffer.getvalue())


def _lines(path: Path, found: DatasetReport) -> Iterable[str]:
    yield f"{path}: {found.pictures} pictures"
    for (width, height, channels), count in found.sizes.most_common(LISTED):
        yield f"size: {width}x{height} {'grey' if channels == 1 else 'RGB'}, {count} pictures"
    if len(found.sizes) > LISTED:
        yield f"      and {len(found.sizes) - LISTED} sizes more"
    classes = ", ".join(f"{name} {count}" for name, count in found.classes.items())
    yield f"classes: {len(found.classes)} ({classes})" if classes else "classes: none"
    yield f"unreadable: {len(found.unreadable) or 'none'}"
    yield from (f"  {error}" for error in found.unreadable[:LISTED])
    yield f"duplicates: {sum(len(names) - 1 for names in found.duplicates) or 'none'}"
    yield from (f"  {' = '.join(names[:LISTED])}" for names in found.duplicates[:LISTED])


def _verdict(path: Path, found: DatasetReport, columns: tuple[str, ...]) -> str:
    shape = found.shape
    if shape is None:
        return "Nothing to train on."
    try:
        name = preset_for(shape)
    except InputError as error:
        return f"Readable, but no preset fits by itself: {error.reason}."
    labels = "".join(f"{{column: {column}}}, " for column in columns)[:-2]
    setting = f" --set {shlex.quote(f'data.labels=[{labels}]')}" if columns else ""
    ready = f"Ready (preset {name}): ganmint train --data {shlex.quote(str(path))} --out runs/mine{setting}"
    if found.pictures >= FEW:
        return ready
    words = f"Few pictures: below some {FEW:,} the discriminator soon knows them by heart, so with augmentation."
    return f"{words}\n{ready} --set 'augment={{}}'"
