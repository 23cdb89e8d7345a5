"""The commands that make models: train, evaluate, publish.

Knows: options, and what is printed before and after. Does not know: how training, evaluating or publishing works.
"""

from __future__ import annotations

import re
import shlex
import sys
import time
from pathlib import Path

import click

from models import manifest
from models.errors import InputError
from models.sampler import resolve_device
from training import data
from training.config import Config, dump_config, load_preset, preset_names
from training.data import Dataset
from training.evaluation import splits
from training.evaluation.evaluate import Outcome
from training.evaluation.evaluate import evaluate as evaluate_images
from training.evaluation.inception import InceptionSpace
from training.evaluation.page import write
from training.evaluation.protocol import STANDARD
from training.evaluation.real import cache_folder
from training.evaluation.report import Report, table, verdict_words
from training.evaluation.subject import Subject, of_model, of_run, run_of
from training.evaluation.toy import evaluate_toy
from training.loop import check_fits, describe_data, run
from training.progress import Steps
from training.publishing import EVALUATION
from training.publishing import publish as publish_run

PATH = click.Path(path_type=Path)


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint train --preset toy1d --out runs/toy\n"
    "  ganmint train --preset digits --data tests/data/digits --out runs/mydigits --set total_kimg=2\n"
    "  ganmint train --preset digits --data tests/data/digits --out runs/mydigits --dry-run"
)
@click.option("--preset", required=True, help=f"Configuration to start from: {', '.join(preset_names())}.")
@click.option("--data", "data_path", type=PATH, help="Training data: an IDX folder (MNIST), a folder or zip of "
              "pictures (class folders, or a labels csv), or npz. The toy presets make their own.")  # fmt: skip
@click.option("--out", type=PATH, required=True, help="Run folder. Run the same command again to resume.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Change a setting, e.g. "
              "total_kimg=100 or lr.start=5e-4. VALUE is YAML; --dry-run shows every setting. Repeatable.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and the data, then stop.")
def train(
    preset: str, data_path: Path | None, out: Path, assignments: tuple[str, ...], device: str, dry_run: bool
) -> None:
    """Train a generator, or resume a run.

    Every tick prints a progress line, appends to OUT/stats.jsonl and OUT/tensorboard, and leaves a
    picture in OUT/grids and a checkpoint. Killed at any moment, the same command goes on from the
    last checkpoint and ends with the same weights, bit for bit on a CPU.
    """
    config = load_preset(preset, assignments)
    dataset = _dataset(config, data_path)
    click.echo(dump_config(config), nl=False)
    classes = f"{len(dataset.label_names)} classes" if dataset.label_names else "no labels"
    shape = "x".join(map(str, dataset.shape))
    click.echo(f"# data: {dataset.name}, {len(dataset)} samples of {shape}, {classes}, sha256 {dataset.digest[:12]}")
    check_fits(config, dataset)
    chosen = resolve_device(device)
    card = describe_data(config, dataset)
    click.echo(f"# the card will say: {card['name']}, licence {card['licence']}", nl=False)
    hint = "; give --set data.name=... --set data.licence=... --set data.attribution=..."
    click.echo(hint if card["licence"] == "not stated" else "")
    click.echo(f"# device: {chosen}\n# out: {out}")
    if not dry_run:
        click.echo(f"# training; a line after every {config.tick_kimg:g} kimg (thousand images shown)")
        run(config, dataset, out, chosen, shlex.join(["ganmint", *sys.argv[1:]]))
        if config.data.kind == "images":
            where = f"--name {_name(out)} --data {shlex.quote(str(data_path))}"
            click.echo(f"Trained. Next: ganmint publish {shlex.quote(str(out))} {where}")


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint evaluate digits --data path/to/mnist\n"
    "  ganmint evaluate runs/mydigits --data tests/data/digits --out report\n"
    "  ganmint evaluate runs/toy"
)
@click.argument("subject", metavar="RUN-or-MODEL")
@click.option("--data", "data_path", type=PATH, help="Real images, as for train. The toy presets need none.")
@click.option("--out", type=PATH, help="Folder of the report. Default: RUN/evaluation, or evaluations/NAME-VERSION.")
@click.option("--inception", type=PATH, help="Weights of Inception-v3 (torch-fidelity's file), for figures in its "
              "features too; about 5 images/s on two CPU cores.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="Mints the images: auto, cpu, cuda or cuda:N.")
def evaluate(subject: str, data_path: Path | None, out: Path | None, inception: Path | None, device: str) -> None:
    """Measure a generator and write a report: report.json and report.html.

    RUN is the folder of a run, MODEL an artifact folder, a name in the store, or name/version. What depends on
    the real images only is kept in GANMINT_CACHE (~/.cache/ganmint) for the next evaluation.
    """
    started = time.monotonic()
    chosen = resolve_device(device)
    found = run_of(subject)
    if found and not found.makes_images:
        if data_path is not None:
            raise InputError(f"{subject} makes its own data; leave --data out", "--data")
        outcome, folder = evaluate_toy(found), found.run / EVALUATION
    else:
        if data_path is None:
            raise InputError("real images to compare with are needed, e.g. --data path/to/mnist", "--data")
        judged = of_run(found, chosen) if found else of_model(subject, chosen)
        folder = (
            judged.run / EVALUATION if judged.run else Path("evaluations", f"{judged.card.name}-{judged.card.version}")
        )
        outcome = _compared(judged, data_path, InceptionSpace(inception, chosen) if inception else None)
    page = write(outcome, out or folder, found.run if found else None)
    _print_report(outcome.report)
    click.echo(f"Wrote {page} in {time.monotonic() - started:.0f} s")


def _compared(judged: Subject, data_path: Path, space: InceptionSpace | None) -> Outcome:
    both = splits.load(data_path, STANDARD.held_out)
    click.echo(f"# {judged.title}; by {STANDARD.name}")
    click.echo(f"# data: {both.whole.name}, {len(both.train)} training images, {len(both.test)} test images")
    return evaluate_images(judged, both, STANDARD, cache_folder(), space, Steps())


def _print_report(report: Report) -> None:
    click.echo(table(report.figures))
    for sentence in (*report.notes, *verdict_words(report)):
        click.echo(sentence)
    if report.real_side == "from the cache":
        click.echo("The real images' figures came from the cache.")
    click.echo(f"Gate: {'passed' if report.verdict.passed else 'not passed'}")
    for words in report.verdict.failures:
        click.echo(f"  {words}")


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint publish runs/mydigits --name mydigits --data tests/data/digits\n"
    '  ganmint publish runs/mydigits --name mydigits --accept "a first try"'
)
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option("--name", required=True, help="What the model will be called: a-z, 0-9, - and _.")
@click.option("--data", "data_path", type=PATH, help="What RUN was trained on. It is evaluated as by ganmint evaluate, "
              "and must pass the thresholds of its preset.")  # fmt: skip
@click.option("--accept", metavar="REASON", default="", help="Publish although it does not pass, or unmeasured; the "
              "card will say so, and why.")  # fmt: skip
@click.option("--version", help="Three whole numbers, e.g. 1.0.0. Default: the next major version.")
@click.option("--batch-size", type=click.IntRange(1, 1024), help="The CPU's fixed batch, instead of measuring it.")
@click.option("--licence", help="Licence of the weights. Default: the training data's.")
@click.option("--to", type=PATH, help="Write the artifact to this folder instead of the model store.")
def publish(
    run_folder: Path,
    name: str,
    data_path: Path | None,
    accept: str,
    version: str | None,
    batch_size: int | None,
    licence: str | None,
    to: Path | None,
) -> None:
    """Evaluate RUN's generator, export it, and put it into the model store under a version.

    A running service notices a new model within seconds; a published version never changes.
    """
    stored = publish_run(
        run_folder, name, version, batch_size, licence, to, data_path, accept, STANDARD, cache_folder(), Steps()
    )
    click.echo(f"Published {stored} to {stored.path}")
    gate = manifest.read(stored.path).gate
    if gate and not gate.passed:
        click.echo(f"Its card says that it did not pass its gate, and why it was accepted: {gate.accepted}")


def _dataset(config: Config, path: Path | None) -> Dataset:
    toys = {"toy1d": data.toy1d, "toy25": data.toy25}
    if config.data.kind in toys:
        if path is not None:
            raise InputError(f"preset {config.preset} makes its own data; leave --data out", "--data")
        return toys[config.data.kind]()
    if path is None:
        raise InputError(f"preset {config.preset} needs data, e.g. --data path/to/mnist", "--data")
    return data.load(path)


def _name(out: Path) -> str:
    """A model name like the run folder's."""
    return re.sub(r"[^a-z0-9_-]+", "-", out.resolve().name.lower()).strip("-_")[:63] or "mymodel"
