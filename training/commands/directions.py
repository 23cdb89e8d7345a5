"""The command that finds directions of a model's latent space: directions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import numpy as np

from models import artifact, images, store
from models.artifact_files import DIRECTIONS
from models.cli import PATH, ModelCommand, device_option, read_ending, revision_option, write_output
from models.directions import Directions, dump_directions
from models.errors import DataError, GanmintError, InputError
from models.latent_edits import DIRECTION_NAME
from models.manifest import Manifest
from models.revision import describe_place, describe_replacement, revise
from models.runtime.loading import resolve_device
from models.sampler import Sampler
from training.config_files import read_data_config
from training.data.labels import split_class_names
from training.data_config import DataConfig
from training.dissection.directions import (
    CHECK_SEED,
    Finding,
    draw_samples,
    find_directions,
    move_images,
)
from training.dissection.label_measures import (
    Attribute,
    list_attributes,
    make_direction_name,
    make_label_measure,
    make_number_measure,
)
from training.dissection.measures import choose_measures
from training.evaluation import classifier, data_split
from training.evaluation.classifier import Classifier
from training.evaluation.data_split import DataSplit
from training.evaluation.protocol import STANDARD
from training.progress import ProgressPrinter

# Rows of the picture for each direction.
SHOWN_IMAGES = 3
# Enough to tell what fits the images.
_GLANCE = 64
# A column's numbers are learned as the classes of so many even steps and one.
_COLUMN_STEPS = 8
# Of the evaluation's classifiers, but shown each image of large data once: it only has to tell how images change.
_RECIPE = STANDARD.classifier.model_copy(update={"epochs": 1})


@click.command(
    cls=ModelCommand,
    epilog="\b\nExamples:\n"
    "  ganmint directions digits --out directions.png\n"
    "  ganmint directions digits --data path/to/mnist --to mydigits\n"
    "  ganmint directions faces --data faces.zip --column turn=yaw_deg",
)
@click.argument("model")
@click.option(
    "--data",
    "data_path",
    type=PATH,
    help="The data that MODEL was trained on. Classifiers learn its labels; they find directions of labels, and check "
    "that images which are moved keep their class.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="[NAME=]COLUMN",
    help="A column of numbers in the data's labels: find the direction along which images look as if it were greater. "
    "NAME is the direction's. Can be repeated; needs --data.",
)
@click.option(
    "--images",
    "fit_images",
    type=click.IntRange(100),
    default=4000,
    show_default=True,
    help="How many generated images to find directions by; a quarter more checks them.",
)
@click.option("--out", type=PATH, help="Write a picture (.png) of images that are moved along each direction.")
@revision_option
@device_option
def directions(
    model: str,
    data_path: Path | None,
    columns: tuple[str, ...],
    fit_images: int,
    out: Path | None,
    to: Path | None,
    device: str,
) -> None:
    """Find directions of a model's latent space, along which one thing changes: dir.NAME=V in an address.

    A direction is a linear fit of a measure of the images by their latents. Each is checked on other images, which it
    must move as it says. Those that pass go into a new version of MODEL, which has the same weights and is not signed.
    """
    if out:
        read_ending(out, ["png"])
    if columns and data_path is None:
        raise InputError("is a column of the data, so it needs --data", "--column")
    column_of_name = _read_columns(columns)
    if to is not None:
        artifact.check_free(to)
    files = store.read_named(model)
    sampler = artifact.load_files(files, resolve_device(device))
    if fit_images <= sampler.manifest.latents.z_dim:
        raise InputError(f"must be more than the {sampler.manifest.latents.z_dim} dimensions of the latent", "--images")
    if data_path is not None and not columns:
        _check_classes(sampler.manifest)
    if replaced := describe_replacement(files, DIRECTIONS, to):
        click.echo(replaced, err=True)
    findings = _find(sampler, data_path, column_of_name, fit_images)
    for line in _format(findings):
        click.echo(line)
    passed = sorted(
        (f.direction for f in findings if f.direction and not f.failures), key=lambda direction: direction.name
    )
    if not passed:
        raise GanmintError("no direction passed its check; nothing was written")
    found = Directions(directions=tuple(passed))
    revised = revise(files, {DIRECTIONS: dump_directions(found)}, {"directions": found.names}, to)
    place, names = describe_place(revised, to), ", ".join(found.names)
    click.echo(f"Wrote {place}, with the directions {names}")
    if out:
        write_output(out, _draw(sampler, found), written=place)
        click.echo(f"Wrote {out}: {names}, {SHOWN_IMAGES} rows each, from one end of the reach to the other")


def _read_columns(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the column of each direction's name, of texts such as `turn=yaw_deg`."""
    column_of_name = {}
    for text in texts:
        name, _, column = text.rpartition("=")
        if not column:
            raise InputError(f"names no column in {text!r}; give [NAME=]COLUMN", "--column")
        name = name or make_direction_name(column)
        if not DIRECTION_NAME.fullmatch(name):
            raise InputError(f"gives {text!r} the name {name!r}; give another one: NAME=COLUMN", "--column")
        if name in column_of_name:
            raise InputError(f"gives the name {name!r} twice", "--column")
        column_of_name[name] = column
    return column_of_name


def _has_classes(manifest: Manifest) -> bool:
    return bool(manifest.class_names) and not manifest.continuous_label


def _check_classes(manifest: Manifest) -> None:
    """Raise InputError for data that are given without a column, where a model has no classes."""
    if not _has_classes(manifest):
        why = f"{manifest.continuous_label} is continuous" if manifest.class_names else f"{manifest.name} has none"
        raise InputError(f"finds directions of classes, and {why}; leave it out, or give a --column", "--data")


def _find(sampler: Sampler, data_path: Path | None, column_of_name: dict[str, str], fit_images: int) -> list[Finding]:
    manifest = sampler.manifest
    settings = read_data_config(manifest.training.config)
    glance = sampler.render(*draw_samples(sampler, CHECK_SEED, _GLANCE))
    measures = choose_measures(glance, settings.aligned_faces)
    if data_path is None:
        return find_directions(sampler, measures, fit_images, fit_images // 4, None, ProgressPrinter())
    taken = [measure.name for measure in measures]
    attributes = _name_attributes(manifest, settings, taken)
    _check_names(column_of_name, [*taken, *(attribute.name for attribute in attributes)])
    # Before anything is trained, so that a missing column is known at once.
    splits = {name: _load_column(data_path, settings, column) for name, column in column_of_name.items()}
    judge = None
    if _has_classes(manifest):
        judges = _train_classifiers(sampler, data_path, data_split.load(data_path, settings), manifest.class_names)
        measures += [make_label_measure(attribute, *judges) for attribute in attributes]
        judge = judges[-1]
    for name, split in splits.items():
        numbers = split.train.class_names
        judges = _train_classifiers(sampler, data_path, split, numbers)
        measures.append(make_number_measure(name, column_of_name[name], [float(text) for text in numbers], *judges))
    return find_directions(sampler, measures, fit_images, fit_images // 4, judge, ProgressPrinter())


def _name_attributes(manifest: Manifest, settings: DataConfig, taken: Sequence[str]) -> list[Attribute]:
    """Return the attributes of the classes that can have a direction, and name the others to the user."""
    if not _has_classes(manifest):
        return []
    columns = [column.column for column in settings.label_columns]
    attributes = list_attributes(manifest.label_values or split_class_names(manifest.class_names, columns), taken)
    for attribute in attributes:
        if not attribute.name:
            why = "no name of it can be a direction's, or another direction has it"
            click.echo(f"No direction for the label {attribute.label!r}: {why}", err=True)
    return [attribute for attribute in attributes if attribute.name]


def _check_names(names: Iterable[str], taken: list[str]) -> None:
    for name in names:
        if name in taken:
            why = f"gives a direction the name {name!r}, which another one has; give another: NAME=COLUMN"
            raise InputError(why, "--column")


def _load_column(data_path: Path, settings: DataConfig, column: str) -> DataSplit:
    """Read the data with the numbers of a column as their only label."""
    scale = {"continuous_label": column, "continuous_steps": _COLUMN_STEPS, "label_columns": (), "unlabelled": False}
    # A mirrored image may have another number: a face that looks to the right looks to the left.
    of_column = settings.model_copy(update={**scale, "independent_labels": False, "mirror": False})
    return data_split.load(data_path, of_column)


def _train_classifiers(
    sampler: Sampler, data_path: Path, split: DataSplit, class_names: tuple[str, ...]
) -> tuple[Classifier, ...]:
    train = split.train
    shape = sampler.manifest.image
    if (
        train.labels is None
        or train.class_names != class_names
        or train.shape != (shape.channels, shape.height, shape.width)
    ):
        raise DataError(data_path, f"is not what {sampler.manifest.name} was trained on: its classes or images differ")
    return classifier.train_several(
        train.images,
        train.labels,
        len(class_names),
        _RECIPE,
        2,
        split.mirror,
        ProgressPrinter(),
    )


def _format(findings: list[Finding]) -> list[str]:
    """Return a table: how far to both sides each was checked, and the means of its measure there and in between."""
    lines = [f"{'DIRECTION':<12}{'REACH':>7}{'V=-REACH':>10}{'V=0':>10}{'V=REACH':>10}  CHANGE  MOVED  LOST CLASS"]
    for finding in findings:
        line = f"{finding.name:<12}"
        if finding.direction:
            means = [mean for _, mean in finding.direction.means]
            ends = "".join(f"{mean:10.3f}" for mean in (means[0], means[len(means) // 2], means[-1]))
            lost = "" if finding.class_loss is None else f"{finding.class_loss:.1%}"
            line += f"{finding.reach:7g}{ends}  {finding.change:6.2f}  {finding.share:5.0%}  {lost:>10}"
        if finding.failures:
            line += f"  not written: {'; '.join(finding.failures)}"
        lines.append(line.rstrip())
    return lines


def _draw(sampler: Sampler, found: Directions) -> bytes:
    """Draw rows of images that are moved from left to right, as far as their direction reaches."""
    samples = draw_samples(sampler, CHECK_SEED, SHOWN_IMAGES)
    rows = []
    for direction in found.directions:
        values = [value for value, _ in direction.means]
        rows.append(np.stack(move_images(sampler, samples, direction.array, values), axis=1))
    pixels = np.concatenate(rows)
    tiles = pixels.reshape(-1, *pixels.shape[2:])
    return images.encode(images.enlarged_grid(tiles, pixels.shape[1]), "image/png")
