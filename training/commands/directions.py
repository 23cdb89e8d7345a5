"""The command that finds directions of a model's latent space: directions."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from models import artifact, images, store
from models.artifact_files import DIRECTIONS, ArtifactFiles
from models.cli import PATH, ModelCommand, device_option, revision_option, write_output
from models.directions import Directions, dump_directions
from models.errors import DataError, GanmintError, InputError
from models.revision import describe_place, revise
from models.runtime.loading import resolve_device
from models.sampler import Sampler
from training.config_files import read_data_config
from training.data.labels import split_class_names
from training.dissection.directions import (
    CHECK_SEED,
    CHECKED_VALUES,
    Finding,
    draw_samples,
    find_directions,
    move_images,
)
from training.dissection.label_measures import list_attributes, make_label_measure
from training.dissection.measures import choose_measures
from training.evaluation import classifier, data_split
from training.evaluation.classifier import Classifier
from training.evaluation.protocol import STANDARD
from training.progress import ProgressPrinter

# Rows of the picture for each direction.
SHOWN_IMAGES = 3
# Enough to tell what fits the images.
_GLANCE = 64
# Of the evaluation's classifiers, but shown each image of large data once: it only has to tell how images change.
_RECIPE = STANDARD.classifier.model_copy(update={"epochs": 1})


@click.command(
    cls=ModelCommand,
    epilog="\b\nExamples:\n"
    "  ganmint directions digits --out directions.png\n"
    "  ganmint directions digits --data path/to/mnist --to mydigits",
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
    model: str, data_path: Path | None, fit_images: int, out: Path | None, to: Path | None, device: str
) -> None:
    """Find directions of a model's latent space, along which one thing changes: dir.NAME=V in an address.

    A direction is a linear fit of a measure of the images by their latents. Each is checked on other images, which it
    must move as it says. Those that pass go into a new version of MODEL, which has the same weights and is not signed.
    """
    if out and out.suffix.lower() != ".png":
        raise InputError(f"must end in .png, got {out.name}", "--out")
    if to is not None:
        artifact.check_free(to)
    files = store.read_named(model)
    sampler = artifact.load_files(files, resolve_device(device))
    if fit_images <= sampler.manifest.latents.z_dim:
        raise InputError(f"must be more than the {sampler.manifest.latents.z_dim} dimensions of the latent", "--images")
    findings = _find(sampler, data_path, fit_images)
    for line in _format(findings):
        click.echo(line)
    passed = sorted((f.direction for f in findings if not f.failures), key=lambda direction: direction.name)
    if not passed:
        raise GanmintError("no direction passed its check; nothing was written")
    found = Directions(directions=tuple(passed))
    if out:
        write_output(out, _draw(sampler, found))
        values = ", ".join(f"{value:g}" for value in CHECKED_VALUES)
        click.echo(f"Wrote {out}: {', '.join(found.names)}, {SHOWN_IMAGES} rows each, moved by {values}")
    _write(files, found, to)


def _find(sampler: Sampler, data_path: Path | None, fit_images: int) -> list[Finding]:
    if data_path is not None and sampler.manifest.continuous_label:
        label = sampler.manifest.continuous_label
        raise InputError(f"finds directions of classes, and {label} is continuous; leave it out", "--data")
    measures = choose_measures(sampler.render(*draw_samples(sampler, CHECK_SEED, _GLANCE)))
    judges: tuple[Classifier, ...] = ()
    if data_path is not None and sampler.manifest.class_names:
        settings = read_data_config(sampler.manifest.training.config)
        judges = _train_classifiers(sampler, data_path)
        columns = [column.column for column in settings.label_columns]
        values = sampler.manifest.label_values or split_class_names(sampler.manifest.class_names, columns)
        measures += [make_label_measure(attribute, *judges) for attribute in list_attributes(values)]
    last = judges[-1] if judges else None
    return find_directions(sampler, measures, fit_images, fit_images // 4, last, ProgressPrinter())


def _train_classifiers(sampler: Sampler, data_path: Path) -> tuple[Classifier, ...]:
    manifest = sampler.manifest
    split = data_split.load(data_path, read_data_config(manifest.training.config))
    train = split.train
    shape = manifest.image
    if (
        train.labels is None
        or train.class_names != manifest.class_names
        or train.shape != (shape.channels, shape.height, shape.width)
    ):
        raise DataError(data_path, f"is not what {manifest.name} was trained on: its classes or images differ")
    return classifier.train_several(
        train.images,
        train.labels,
        len(manifest.class_names),
        _RECIPE,
        2,
        split.mirror,
        ProgressPrinter(),
    )


def _format(findings: list[Finding]) -> list[str]:
    values = "".join(f"{f'V={value:g}':>9}" for value in CHECKED_VALUES)
    lines = [f"{'DIRECTION':<12}{values}  CHANGE  MOVED  LOST CLASS"]
    for finding in findings:
        means = "".join(f"{mean:9.3f}" for _, mean in finding.direction.means)
        lost = "" if finding.class_loss is None else f"{finding.class_loss:.1%}"
        line = f"{finding.direction.name:<12}{means}  {finding.change:6.2f}  {finding.share:5.0%}  {lost:>10}"
        if finding.failures:
            line += f"  not written: {'; '.join(finding.failures)}"
        lines.append(line.rstrip())
    return lines


def _draw(sampler: Sampler, found: Directions) -> bytes:
    """Draw rows of images that are moved from left to right."""
    samples = draw_samples(sampler, CHECK_SEED, SHOWN_IMAGES)
    rows = [
        np.stack(move_images(sampler, samples, direction.array, CHECKED_VALUES), axis=1)
        for direction in found.directions
    ]
    pixels = np.concatenate(rows)
    tiles = pixels.reshape(-1, *pixels.shape[2:])
    return images.encode(images.grid(tiles, len(CHECKED_VALUES)), "image/png", "directions")


def _write(files: ArtifactFiles, found: Directions, to: Path | None) -> None:
    revised = revise(files, {DIRECTIONS: dump_directions(found)}, {"directions": found.names}, to)
    click.echo(f"Wrote {describe_place(revised, to)}, with the directions {', '.join(found.names)}")
