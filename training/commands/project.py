"""The command that looks for a picture among a model's images: project."""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from models import artifact, images, store
from models.artifact_files import ArtifactFiles
from models.cli import PATH, ModelCommand, device_option, read_ending, write_output
from models.labels import parse_label
from models.manifest import Manifest
from models.network_config import GeneratorConfig
from models.networks import load_generator
from models.runtime.loading import resolve_device
from training.efficientnet import HOW_TO_INSTALL
from training.progress import ProgressPrinter
from training.projection.descent import Projection, find_nearest
from training.projection.distance import PIXELS_NAME, PictureDistance, choose_features
from training.projection.picture import describe_fitting, read_picture

_PEOPLE = re.compile(r"\b(people|persons?|faces?)\b", re.IGNORECASE)


@click.command(cls=ModelCommand, epilog="\b\nExample:\n  ganmint project three.png --model digits --out beside.png")
@click.argument("file", type=PATH)
@click.option("--model", required=True, help="Name, name/version or artifact folder.")
@click.option(
    "--label",
    metavar="L",
    help="The class by number, name or values (age=60+,gender=female). Default: those of the nearest random images.",
)
@click.option(
    "--steps", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Of the descent; more is nearer."
)
@click.option("--out", type=PATH, help="Write the picture and beside it the image of the address (.png).")
@device_option
def project(file: Path, model: str, label: str | None, steps: int, out: Path | None, device: str) -> None:
    """Find the address of a model whose image is nearest to a picture.

    Its latent is written out. Several descents start from the nearest of random addresses, in the features of
    EfficientNet-Lite0 (extra evaluate) or, without it, in pixels. FILE is a PNG, JPEG or WebP file of up to 50 million
    pixels; its centre is used, and transparent pixels are put on white.
    """
    if out:
        read_ending(out, ["png"])
    files = store.read_named(model, "--model")
    number = None if label is None else files.manifest.find_label(parse_label(label, "--label"), "--label")
    picture = read_picture(file, files.manifest.image)
    click.echo(f"{file}: {describe_fitting(picture)}")
    for line in _describe_use(files.manifest):
        click.echo(line)
    projection = _find(files, picture.pixels, number, steps, resolve_device(device))
    click.echo(str(projection.address))
    click.echo(_describe_distance(projection, files.manifest))
    if out:
        pixels = images.enlarged_grid(np.stack([picture.pixels, projection.pixels]), 2)
        # No address of its own: half of it is another picture.
        write_output(out, images.encode(pixels, "image/png"))
        click.echo(f"Wrote {out}: the picture, and beside it the image of the address")


def _describe_use(manifest: Manifest) -> list[str]:
    """Say what is to be known before pictures of people are looked for."""
    use = manifest.training.data.use
    if not _PEOPLE.search(use):
        return []
    result = "The result is a made-up face that resembles the picture. It identifies nobody."
    return [f"{manifest.name} {manifest.version}: {use}", result]


def _find(files: ArtifactFiles, picture: NDArray[np.uint8], label: int | None, steps: int, device: str) -> Projection:
    """Load a model and find its address nearest to a picture, uint8 (H, W, C)."""
    name, features = choose_features(device)
    click.echo(f"distance: {name}" + (f", because {HOW_TO_INSTALL}" if name == PIXELS_NAME else ""))
    sampler = artifact.load_files(files, device)
    config = GeneratorConfig.model_validate(files.manifest.network)
    generator = load_generator(config, files.get(artifact.WEIGHTS), files.folder / artifact.WEIGHTS)
    generator = generator.to(device).eval().requires_grad_(False)
    distance = PictureDistance(picture, features, device)
    return find_nearest(sampler, generator, distance, label, steps, ProgressPrinter())


def _describe_distance(projection: Projection, manifest: Manifest) -> str:
    others = projection.other_distances
    return (
        f"distance {projection.distance:.4f}; of {len(others)} random addresses of {manifest.name} {manifest.version}, "
        f"the nearest has {others.min():.4f}, the median {np.median(others):.4f}"
    )
