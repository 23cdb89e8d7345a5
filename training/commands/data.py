"""The commands for data before training: data check, data prepare."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from models.cli import PATH, write_output
from models.errors import GanmintError, InputError
from training.commands.data_options import Reading, describe_reading, quote_settings, reading_options
from training.config_files import find_preset, load_preset
from training.data.archive import readable
from training.data.inspection import SKIP_DAMAGED, DatasetReport, Inspection, Role, compare_test, inspect_dataset
from training.data.label_scale import read_values
from training.data.layout import MAX_LISTED, describe_skipped, describe_unused, may_matter
from training.data.loader import load_dataset, load_test_images
from training.data.preparation import check_destination, encode_plain_png, write_prepared
from training.evaluation.sample_size import describe_too_few
from training.own_preset import is_suited

# Augmentation is for "only a few thousand training images" (Karras et al., arXiv 2006.06676, abstract).
SMALL_DATA = 5000


@click.group()
def data() -> None:
    """Check and prepare data before training on it."""


@data.command(
    short_help="Check that a data set can be trained on.",
    epilog="\b\nExamples:\n  ganmint data check tests/data/digits --sheet sheet.png\n"
    "  ganmint data check tests/data/digits --size 32",
)
@click.argument("path", type=PATH)
@reading_options()
@click.option(
    "--continuous-label",
    default="",
    metavar="COLUMN",
    help="A csv column of numbers that is the only label, like data.continuous_label in training.",
)
@click.option("--test", type=PATH, help="Check the test images that lie here, too, like data.test in training.")
@click.option("--sheet", type=PATH, help="Write some of the images to this PNG, one class per column.")
def check(path: Path, reading: Reading, continuous_label: str, test: Path | None, sheet: Path | None) -> None:
    """Check every image at PATH: sizes, classes, damage, duplicates, files that are not used.

    It ends with the command that trains on the data, or with what prevents a training.

    PATH is anything that train accepts as its data. The exit code is 1 if something prevents a training.
    """
    if continuous_label:
        reading = reading.with_continuous_label(continuous_label)
    if test:
        reading = reading._replace(settings=(*reading.settings, f"data.test={readable(str(test))}"))

    def inspect(place: Path, role: Role) -> Inspection:
        columns, unlabelled, decoding, _ = reading
        return inspect_dataset(place, columns, unlabelled, decoding, role, continuous_label)

    report, pixels = inspect(path, "training" if test else "all")
    for line in _describe(path, report):
        click.echo(line)
    reports, obstacles = [report], report.obstacles
    if test:
        tested = inspect(test, "test").report
        obstacles += tested.obstacles + compare_test(report, tested, test)
        click.echo("test images:")
        for line in _describe(test, tested):
            click.echo(line)
        reports.append(tested)
    if sheet and pixels is not None:
        write_output(sheet, encode_plain_png(pixels), "--sheet")
        click.echo(f"sheet: {sheet}")
    if obstacles:
        mending = _suggest_mending(path, report, reading.settings) if obstacles == report.obstacles else ""
        raise GanmintError(f"{path} cannot be trained on yet: {'; '.join(obstacles)}{mending}")
    click.echo(_suggest_training(path, reports, reading.settings))


@data.command(
    short_help="Write a data set of one size.",
    epilog="\b\nExample:\n  ganmint data prepare tests/data/digits digits-32 --size 32",
)
@click.argument("source", metavar="SRC", type=PATH)
@click.argument("folder", metavar="DEST", type=PATH)
@reading_options(size_required=True)
def prepare(source: Path, folder: Path, reading: Reading) -> None:
    """Bring every image at SRC to one size, and write them to the folder DEST, with a list of what came from where.

    DEST gets numbered folders of PNG files, as StyleGAN has them, and metadata.jsonl: of each image its class, its
    source, and the box of it that was used. SRC stays as it is. Test images that come with it go to DEST/test.

    Training on DEST is the same as training on SRC with the settings that these options name.
    """
    check_destination(source, folder)
    dataset = load_dataset(source, reading.label_columns, reading.unlabelled, reading.decoding)
    test = load_test_images(source, reading.label_columns, reading.unlabelled, reading.decoding)
    write_prepared(folder, dataset, test)
    for line in describe_reading(dataset, reading.decoding):
        click.echo(line)
    click.echo(f"{folder}: {len(dataset)} images of {reading.decoding.size}, sha256 {dataset.digest[:12]}")
    if test is not None:
        skipped = f"; skipped: {describe_skipped(test.skipped)}" if test.skipped else ""
        click.echo(f"test: {len(test)} images more{skipped}")
    click.echo(f"Next: ganmint train --data {shlex.quote(str(folder))} --out runs/mine")


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
    yield _describe_labels(report)
    skipped = ", skipped" if report.unreadable and report.decoding.skip_damaged else ""
    yield f"unreadable: {len(report.unreadable) or 'none'}{skipped}"
    yield from (f"  {error}" for error in report.unreadable[:MAX_LISTED])
    yield f"duplicates: {sum(len(names) - 1 for names in report.duplicates) or 'none'}"
    yield from (f"  {' = '.join(names[:MAX_LISTED])}" for names in report.duplicates[:MAX_LISTED])
    yield from (f"look at: {doubt}" for doubt in report.doubts)
    if report.unused:
        yield f"not used: {describe_unused(report.unused)}"


def _describe_labels(report: DatasetReport) -> str:
    label = report.continuous_label
    if label and report.classes and not report.labels_error:
        values = read_values(report.classes, label, Path())
        return f"{label}: from {values.min():.6g} to {values.max():.6g}, {len(values)} different values"
    classes = ", ".join(f"{name} {count}" for name, count in report.classes.items())
    return f"classes: {len(report.classes)} ({classes})" if classes and not label else f"{label or 'classes'}: none"


def _suggest_mending(path: Path, report: DatasetReport, settings: tuple[str, ...]) -> str:
    """Return the command that trains in spite of the obstacles, on a line of its own; "" if none would."""
    mending = report.mending_settings
    if not mending or (report.shape and not is_suited(report.shape)):
        return ""
    rest = " on the rest" if SKIP_DAMAGED in mending else ""
    return f"\nThis trains{rest}: {_training_command(path, (*settings, *mending))}"


def _training_command(path: Path, settings: tuple[str, ...]) -> str:
    return f"ganmint train --data {shlex.quote(readable(str(path)))} --out runs/mine{quote_settings(settings)}"


def _suggest_training(path: Path, reports: Sequence[DatasetReport], settings: tuple[str, ...]) -> str:
    """Return the command that trains on this data; it is only called ready if all files are understood.

    Args: reports, of the data, and of test images that lie elsewhere.
    """
    report = reports[0]
    if report.shape is None:
        return "There is nothing to train on."
    try:
        preset = find_preset(report.shape)
    except InputError as error:
        return f"Readable, but no preset fits: {error.reason}."
    command = _training_command(path, settings)
    missed = describe_unused(name for one in reports for name in one.unused if may_matter(name))
    conditions = ["this is meant"] if any(one.doubts for one in reports) else []
    conditions += [f"you do not miss {missed}"] if missed else []
    ready = f"If {' and '.join(conditions)}" if conditions else "Ready"
    ready = f"{ready} (preset {preset}): {command}"
    num_test = report.num_test_images or sum(one.num_images for one in reports[1:])
    shares = load_preset(preset, (), report.shape, has_test_images=num_test > 0).data
    if too_few := describe_too_few(report.groups, shares, num_test):
        ready = f"To measure quality by: {too_few}\n{ready}"
    if report.num_images >= SMALL_DATA:
        return ready
    return f"Small data set (under {SMALL_DATA:,} images): keep the preset's augmentation on.\n{ready}"
