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
from training.commands.data_options import Reading, quote_settings, reading_options
from training.config_files import find_preset
from training.data.archive import readable
from training.data.inspection import DatasetReport, Pixels, inspect_dataset
from training.data.layout import MAX_LISTED, describe_unused, may_matter

# Augmentation is for "only a few thousand training images" (Karras et al., arXiv 2006.06676, abstract).
SMALL_DATA = 5000


@click.group()
def data() -> None:
    """Inspect data before training on it."""


@data.command(
    short_help="Check that a data set can be trained on.",
    epilog="\b\nExamples:\n  ganmint data check tests/data/digits --sheet sheet.png\n"
    "  ganmint data check tests/data/digits --size 32",
)
@click.argument("path", type=PATH)
@reading_options()
@click.option("--sheet", type=PATH, help="Write some of the images to this PNG, one class per column.")
def check(path: Path, reading: Reading, sheet: Path | None) -> None:
    """Check every image at PATH: sizes, classes, damage, duplicates, files that are not used.

    It ends with the command that trains on the data, or with what prevents a training.

    PATH is anything that train accepts as its data. The exit code is 1 if something prevents a training.
    """
    report, pixels = inspect_dataset(path, reading.label_columns, reading.unlabelled, reading.decoding)
    for line in _describe(path, report):
        click.echo(line)
    if sheet and pixels is not None:
        write_output(sheet, _encode_png(pixels), "--sheet")
        click.echo(f"sheet: {sheet}")
    if report.obstacles:
        raise GanmintError(f"{path} cannot be trained on yet: {'; '.join(report.obstacles)}")
    # The data's own test images take the place of a share, which would be lost to the training.
    settings = (*reading.settings, *(["data.holdout=0"] if report.num_test_images else []))
    click.echo(_suggest_training(path, report, settings))


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
    if report.has_mixed_channels:
        yield "      all become RGB, because some are"
    if report.decoding.size:
        yield f"{report.decoding.fit} to {report.decoding.size}: {report.enlarged or 'none'} enlarged"
    classes = ", ".join(f"{name} {count}" for name, count in report.classes.items())
    yield f"classes: {len(report.classes)} ({classes})" if classes else "classes: none"
    skipped = ", skipped" if report.unreadable and report.decoding.skip_damaged else ""
    yield f"unreadable: {len(report.unreadable) or 'none'}{skipped}"
    yield from (f"  {error}" for error in report.unreadable[:MAX_LISTED])
    yield f"duplicates: {sum(len(names) - 1 for names in report.duplicates) or 'none'}"
    yield from (f"  {' = '.join(names[:MAX_LISTED])}" for names in report.duplicates[:MAX_LISTED])
    if report.unused:
        yield f"not used: {describe_unused(report.unused)}"


def _suggest_training(path: Path, report: DatasetReport, settings: tuple[str, ...]) -> str:
    """Return the command that trains on this data; it is only called ready if all files are understood."""
    if report.shape is None:
        return "There is nothing to train on."
    try:
        preset = find_preset(report.shape)
    except InputError as error:
        return f"Readable, but no preset fits: {error.reason}."
    data_path = shlex.quote(readable(str(path)))
    command = f"ganmint train --data {data_path} --out runs/mine{quote_settings(settings)}"
    doubtful = describe_unused(filter(may_matter, report.unused))
    ready = f"Ready (preset {preset}): {command}"
    if doubtful:
        ready = f"If you do not miss {doubtful} (preset {preset}): {command}"
    if report.num_images >= SMALL_DATA:
        return ready
    return f"Small data set (under {SMALL_DATA:,} images): keep the preset's augmentation on.\n{ready}"
