"""The commands that judge a generator: evaluate, and publish, which lets through what passes.

Knows: options, and what is printed before and after. Does not know: how measuring or publishing works.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from models import manifest
from models.cli import PATH
from models.errors import InputError
from models.runtime.loading import resolve_device
from training.evaluation import data_split
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.evaluate import evaluate as evaluate_images
from training.evaluation.evaluated_generator import EvaluatedGenerator, load_run_if_any
from training.evaluation.html_report import write_report
from training.evaluation.inception import InceptionSpace
from training.evaluation.protocol import STANDARD
from training.evaluation.reference import default_cache_dir
from training.evaluation.report import Report, format_table, summarise
from training.evaluation.toy_metrics import evaluate_toy
from training.progress import ProgressPrinter
from training.publish import publish as publish_run
from training.runs.run_dir import EVALUATION_FOLDER


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint evaluate digits --data path/to/mnist\n"
    "  ganmint evaluate runs/mydigits --data tests/data/digits --out report\n"
    "  ganmint evaluate runs/toy"
)
@click.argument("subject", metavar="RUN-or-MODEL")
@click.option("--data", "data_path", type=PATH, help="Real images, as for train. The toy presets need none.")
@click.option("--out", type=PATH, help="Folder of the report. Default: RUN/evaluation, or evaluations/NAME-VERSION.")
@click.option("--inception", type=PATH, help="Weights of Inception-v3 (torch-fidelity's file), for metrics in its "
              "features too; about 5 images/s on two CPU cores.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="Mints the images: auto, cpu, cuda or cuda:N.")
def evaluate(subject: str, data_path: Path | None, out: Path | None, inception: Path | None, device: str) -> None:
    """Measure a generator and write a report: report.json and report.html.

    RUN is the folder of a run, MODEL an artifact folder, a name in the store, or name/version. What depends on
    the real images only is kept in GANMINT_CACHE (~/.cache/ganmint) for the next evaluation.
    """
    started = time.monotonic()
    chosen = resolve_device(device)
    found = load_run_if_any(subject)
    if found and not found.is_image_run:
        if data_path is not None:
            raise InputError(f"{subject} makes its own data; leave --data out", "--data")
        outcome, folder = evaluate_toy(found), found.path / EVALUATION_FOLDER
    else:
        if data_path is None:
            raise InputError("real images to compare with are needed, e.g. --data path/to/mnist", "--data")
        judged = EvaluatedGenerator.from_run(found, chosen) if found else EvaluatedGenerator.from_model(subject, chosen)
        folder = (
            judged.run / EVALUATION_FOLDER
            if judged.run
            else Path("evaluations", f"{judged.manifest.name}-{judged.manifest.version}")
        )
        outcome = _compared(judged, data_path, InceptionSpace(inception, chosen) if inception else None)
    page = write_report(outcome, out or folder, found.path if found else None)
    _print_report(outcome.report)
    click.echo(f"Wrote {page} in {time.monotonic() - started:.0f} s")


def _compared(judged: EvaluatedGenerator, data_path: Path, space: InceptionSpace | None) -> EvaluationResult:
    both = data_split.load(data_path, judged.data, STANDARD.holdout)
    click.echo(f"# {judged.title}; by {STANDARD.name}")
    click.echo(f"# data: {both.whole.name}, {len(both.train)} training images, {len(both.test)} test images")
    return evaluate_images(judged, both, STANDARD, default_cache_dir(), space, ProgressPrinter())


def _print_report(report: Report) -> None:
    click.echo(format_table(report.metrics))
    for sentence in (*report.notes, *summarise(report)):
        click.echo(sentence)
    if report.reference_source == "from the cache":
        click.echo("The real images' figures came from the cache.")
    click.echo(f"Gate: {'passed' if report.gate.passed else 'not passed'}")
    for words in report.gate.failures:
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
        run_folder,
        name,
        version,
        batch_size,
        licence,
        to,
        data_path,
        accept,
        STANDARD,
        default_cache_dir(),
        ProgressPrinter(),
    )
    click.echo(f"Published {stored} to {stored.path}")
    gate = manifest.read(stored.path).gate
    if gate and not gate.passed:
        click.echo(f"Its card says that it did not pass its gate, and why it was accepted: {gate.accepted}")
