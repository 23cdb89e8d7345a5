"""The command that inspects data before training: data check."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterable
from pathlib import Path

import click
from PIL import Image

from models.cli import PATH, write_output
from models.errors import GanmintError, InputError
from training.config import find_preset
from training.data.inspection import DatasetReport, Pixels, inspect_dataset
from training.data.labels import LabelColumn

# How many findings of one kind are listed.
MAX_LISTED = 10
# Augmentation is for "only a few thousand training images" (Karras et al., arXiv 2006.06676, abstract).
SMALL_DATA = 5000


@click.group()
def data() -> None:
    """Inspect data before training on it."""


@data.command(
    short_help="Check that a data set can be trained on.",
    epilog="\b\nExample:\n  ganmint data check tests/data/digits --sheet sheet.png",
)
@click.argument("path", type=PATH)
@click.option(
    "--label",
    "headings",
    multiple=True,
    metavar="COLUMN",
    help="A csv column that is part of the label, like data.label_columns in training. Repeatable.",
)
@click.option("--sheet", type=PATH, help="Write some of the images to this PNG, one class per column.")
def check(path: Path, headings: tuple[str, ...], sheet: Path | None) -> None:
    """Check every image at PATH: sizes, classes, damage, duplicates, and whether it can be trained on.

    PATH is anything that train accepts as its data. The exit code is 1 if something prevents a training.
    """
    report, pixels = inspect_dataset(path, tuple(LabelColumn(column=heading) for heading in headings))
    for line in _describe(path, report):
        click.echo(line)
    if sheet and pixels is not None:
        write_output(sheet, _encode_png(pixels), "--sheet")
        click.echo(f"sheet: {sheet}")
    if report.obstacles:
        raise GanmintError(f"{path} cannot be trained on yet: {'; '.join(report.obstacles)}")
    click.echo(_suggest_training(path, report, headings))


def _encode_png(pixels: Pixels) -> bytes:
    """Encode a plain PNG; models.images would mark it as synthetic, but training data is real."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _describe(path: Path, report: DatasetReport) -> Iterable[str]:
    yield f"{path}: {report.num_images} images"
    for (width, height, channels), count in report.sizes.most_common(MAX_LISTED):
        yield f"size: {width}x{height} {'grey' if channels == 1 else 'RGB'}, {count} images"
    if len(report.sizes) > MAX_LISTED:
        yield f"      and {len(report.sizes) - MAX_LISTED} more sizes"
    classes = ", ".join(f"{name} {count}" for name, count in report.classes.items())
    yield f"classes: {len(report.classes)} ({classes})" if classes else "classes: none"
    yield f"unreadable: {len(report.unreadable) or 'none'}"
    yield from (f"  {error}" for error in report.unreadable[:MAX_LISTED])
    yield f"duplicates: {sum(len(names) - 1 for names in report.duplicates) or 'none'}"
    yield from (f"  {' = '.join(names[:MAX_LISTED])}" for names in report.duplicates[:MAX_LISTED])


def _suggest_training(path: Path, report: DatasetReport, headings: tuple[str, ...]) -> str:
    """Return the command that trains on this data."""
    if report.shape is None:
        return "There is nothing to train on."
    try:
        preset = find_preset(report.shape)
    except InputError as error:
        return f"Readable, but no preset fits: {error.reason}."
    columns = ", ".join(f"{{column: {heading}}}" for heading in headings)
    setting = f" --set {shlex.quote(f'data.label_columns=[{columns}]')}" if headings else ""
    ready = f"Ready (preset {preset}): ganmint train --data {shlex.quote(str(path))} --out runs/mine{setting}"
    if report.num_images >= SMALL_DATA:
        return ready
    return f"Small data set (under {SMALL_DATA:,} images): keep the preset's augmentation on.\n{ready}"
