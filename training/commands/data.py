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
from training.config_files import find_preset
from training.data.archive import readable
from training.data.inspection import DatasetReport, Pixels, inspect_dataset
from training.data.labels import LabelColumn
from training.data.layout import describe_unused, may_matter

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
@click.option("--unlabelled", is_flag=True, help="Read no labels, like data.unlabelled=true in training.")
@click.option("--sheet", type=PATH, help="Write some of the images to this PNG, one class per column.")
def check(path: Path, headings: tuple[str, ...], unlabelled: bool, sheet: Path | None) -> None:
    """Check every image at PATH: sizes, classes, damage, duplicates, files that are not used.

    It ends with the command that trains on the data, or with what prevents a training.

    PATH is anything that train accepts as its data. The exit code is 1 if something prevents a training.
    """
    if headings and unlabelled:
        raise InputError("leave it out, or leave --unlabelled out", "--label")
    report, pixels = inspect_dataset(path, tuple(LabelColumn(column=heading) for heading in headings), unlabelled)
    for line in _describe(path, report):
        click.echo(line)
    if sheet and pixels is not None:
        write_output(sheet, _encode_png(pixels), "--sheet")
        click.echo(f"sheet: {sheet}")
    if report.obstacles:
        raise GanmintError(f"{path} cannot be trained on yet: {'; '.join(report.obstacles)}")
    click.echo(_suggest_training(path, report, _settings(report, headings, unlabelled)))


def _encode_png(pixels: Pixels) -> bytes:
    """Encode a plain PNG; models.images would mark it as synthetic, but training data is real."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _describe(path: Path, report: DatasetReport) -> Iterable[str]:
    yield f"{readable(str(path))}: {report.num_images} images"
    if report.num_test_images:
        yield f"test: {report.num_test_images} images more"
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
    if report.unused:
        yield f"not used: {describe_unused(report.unused)}"


def _settings(report: DatasetReport, headings: tuple[str, ...], unlabelled: bool) -> list[str]:
    """Return the settings of a training that reads the data as they were checked."""
    columns = ", ".join(f"{{column: {heading}}}" for heading in headings)
    settings = [f"data.label_columns=[{columns}]"] if headings else []
    settings += ["data.unlabelled=true"] if unlabelled else []
    # The data's own test images take the place of a share, which would be lost to the training.
    return settings + (["data.holdout=0"] if report.num_test_images else [])


def _suggest_training(path: Path, report: DatasetReport, settings: list[str]) -> str:
    """Return the command that trains on this data; it is only called ready if all files are understood."""
    if report.shape is None:
        return "There is nothing to train on."
    try:
        preset = find_preset(report.shape)
    except InputError as error:
        return f"Readable, but no preset fits: {error.reason}."
    options = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
    command = f"ganmint train --data {shlex.quote(readable(str(path)))} --out runs/mine{options}"
    doubtful = describe_unused(filter(may_matter, report.unused))
    ready = f"Ready (preset {preset}): {command}"
    if doubtful:
        ready = f"If you do not miss {doubtful} (preset {preset}): {command}"
    if report.num_images >= SMALL_DATA:
        return ready
    return f"Small data set (under {SMALL_DATA:,} images): keep the preset's augmentation on.\n{ready}"
