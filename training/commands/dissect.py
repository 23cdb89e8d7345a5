"""The command that tells what the units of a generator do: dissect."""

from __future__ import annotations

from pathlib import Path

import click

from models import artifact, store
from models.artifact_files import ONNX_FILE, UNITS
from models.cli import PATH, ModelCommand, read_ending, revision_option, write_output
from models.errors import InputError
from models.network_config import GeneratorConfig, list_levels
from models.revision import describe_place, describe_replacement, revise
from models.runtime.onnx_levels import OnnxLevels
from models.units import dump_units
from training.config_files import read_data_config
from training.dissection.unit_report import render_units, summarise_level
from training.dissection.units import dissect as dissect_generator
from training.progress import ProgressPrinter


@click.command(cls=ModelCommand, epilog="\b\nExample:\n  ganmint dissect digits --images 100")
@click.argument("model")
@click.option(
    "--images",
    "count",
    type=click.IntRange(2),
    default=200,
    show_default=True,
    help="How many generated images to compare with concepts.",
)
@click.option(
    "--changed-images",
    "changed_count",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="In how many of them each unit is set to 0.",
)
@click.option(
    "--out", type=PATH, help="The report (.html). Default: dissections/NAME-VERSION.html, of the version dissected."
)
@revision_option
def dissect(model: str, count: int, changed_count: int, out: Path | None, to: Path | None) -> None:
    """Tell what the units of a generator do: the feature maps of its levels (GAN Dissection, arXiv 1811.10597).

    A unit's effect is how much images change when it is set to 0. Units of drawings are compared with ink, holes, ends
    and crossings, those of aligned faces with regions of the face. The result goes into a new version of MODEL, which
    has the same weights and is not signed, and into a report. No data are needed.
    """
    if out:
        read_ending(out, ["html"])
    if to is not None:
        artifact.check_free(to)
    files = store.read_named(model)
    manifest = files.manifest
    if manifest.schema_version == 1 or not list_levels(GeneratorConfig.model_validate(manifest.network).network):
        raise InputError(f"{manifest.name} {manifest.version} has no feature maps that can be edited", "MODEL")
    levels = OnnxLevels(files.get(ONNX_FILE), files.folder / ONNX_FILE, manifest)
    if replaced := describe_replacement(files, UNITS, to):
        click.echo(replaced, err=True)
    has_aligned_faces = read_data_config(manifest.training.config).aligned_faces
    found = dissect_generator(
        artifact.load_files(files), levels, count, min(changed_count, count), has_aligned_faces, ProgressPrinter()
    )
    for level in found.units.levels:
        click.echo(f"level {level.level}, {len(level.units)} units: {summarise_level(level)}")
    title = f"{manifest.name} {manifest.version}"
    report = out or Path("dissections", f"{manifest.name}-{manifest.version}.html")
    place = describe_place(revise(files, {UNITS: dump_units(found.units)}, to=to), to)
    click.echo(f"Wrote {place}")
    write_output(report, render_units(title, found, levels).encode(), written=place)
    click.echo(f"Wrote {report}")
