"""The commands that evaluate a generator: evaluate, and publish, which also puts it into the store."""

from __future__ import annotations

import shlex
import tempfile
import time
from pathlib import Path

import click

from models import signing
from models.cli import PATH, device_option
from models.errors import FileError, InputError
from models.evidence import format_kimg
from models.manifest import read_manifest
from models.runtime.loading import resolve_device
from models.store import StoredModel
from training.evaluation import data_split
from training.evaluation.data_split import RequestedPart
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.evaluate import evaluate as evaluate_generator
from training.evaluation.evaluated_generator import EvaluatedGenerator, load_run_if_any
from training.evaluation.evaluation_record import record_if_test
from training.evaluation.html_report import write_report
from training.evaluation.inception import InceptionSpace
from training.evaluation.protocol import STANDARD
from training.evaluation.reference_cache import default_cache_dir
from training.evaluation.report import Report, format_table
from training.evaluation.snapshot_scores import score_snapshots
from training.evaluation.summary import summarise
from training.evaluation.toy_metrics import evaluate_toy
from training.metric_results import METRICS
from training.progress import ProgressPrinter
from training.publish import EvaluationSettings, PublishOptions
from training.publish import publish as publish_run
from training.runs.provenance import read_provenance
from training.runs.run_dir import EVALUATION_FOLDER
from training.runs.snapshot_record import scores_path
from training.runs.trained_run import TrainedRun


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint evaluate digits --data path/to/mnist\n"
    "  ganmint evaluate runs/mydigits --data tests/data/digits --out report\n"
    "  ganmint evaluate runs/mydigits --data tests/data/digits --snapshots\n"
    "  ganmint evaluate runs/toy",
)
@click.argument("subject", metavar="RUN-or-MODEL")
@click.option("--data", "data_path", type=PATH, help="Real images, as for train. The toy presets need none.")
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="The real images to compare with: validation for choices, test for a release.",
)
@click.option(
    "--snapshots",
    "score_all",
    is_flag=True,
    help="Score every snapshot of RUN on its validation images, by few metrics, instead of writing a report.",
)
@click.option("--out", type=PATH, help="Folder of the report. Default: RUN/evaluation, or evaluations/NAME-VERSION.")
@click.option(
    "--inception",
    type=PATH,
    help="Weights of Inception-v3 (torch-fidelity's file), to measure distances in its features too; about 5 "
    "images/s on two CPU cores.",
)
@device_option
def evaluate(
    subject: str,
    data_path: Path | None,
    split: RequestedPart,
    score_all: bool,
    out: Path | None,
    inception: Path | None,
    device: str,
) -> None:
    """Measure a generator and write report.json and report.html.

    RUN is a run folder. MODEL is a model's folder, a name in the store, or name/version. Measurements of the
    real images are kept in GANMINT_CACHE (~/.cache/ganmint) for the next evaluation.
    """
    start_s = time.monotonic()
    resolved_device = resolve_device(device)
    run = load_run_if_any(subject)
    if score_all:
        if not run or run.config.data.is_toy or data_path is None or split != "validation" or out or inception:
            raise InputError(
                "needs a run with images, its --data, no other --split than validation, no --out and no --inception",
                "--snapshots",
            )
        _score_snapshots(run, data_path, resolved_device)
        return
    if run and run.config.data.is_toy:
        if data_path is not None:
            raise InputError(f"{subject} makes its own data; leave --data out", "--data")
        folder = _make_folder(out or run.path / EVALUATION_FOLDER)
        result = evaluate_toy(run)
    else:
        if data_path is None:
            raise InputError("real images to compare with are needed, e.g. --data path/to/mnist", "--data")
        if run:
            generator = EvaluatedGenerator.from_run(run, resolved_device)
            default_out = run.path / EVALUATION_FOLDER
        else:
            generator = EvaluatedGenerator.from_model(subject, resolved_device)
            default_out = Path("evaluations", f"{generator.manifest.name}-{generator.manifest.version}")
        folder = _make_folder(out or default_out)
        inception_space = InceptionSpace(inception, resolved_device) if inception else None
        result = _evaluate(generator, data_path, split, inception_space)
    try:
        page = write_report(result, folder, run.path if run else None)
    except OSError as error:
        raise FileError(folder, f"cannot be written: {error.strerror or error}; choose another --out") from None
    _print_report(result.report)
    click.echo(f"Wrote {page} in {time.monotonic() - start_s:.0f} s")


def _evaluate(
    generator: EvaluatedGenerator, data_path: Path, requested: RequestedPart, inception: InceptionSpace | None
) -> EvaluationResult:
    split = data_split.load(data_path, generator.data, requested, STANDARD.holdout)
    if generator.run and split.part == "test":
        # Fail now rather than after the measuring.
        read_provenance(generator.run)
    click.echo(f"# {generator.title}; by {STANDARD.name}")
    click.echo(
        f"# data: {split.whole.name}, {len(split.train)} training images, compared with {len(split.compared)} "
        f"{split.part} images ({split.origin})"
    )
    result = evaluate_generator(generator, split, STANDARD, default_cache_dir(), inception, ProgressPrinter())
    if generator.run:
        record_if_test(generator.run, result.report, split)
        if split.part == "test":
            count = len(read_provenance(generator.run).test_evaluations)
            click.echo(f"# measured on test images: {count} times so far, as run.json and the model card will say")
    return result


def _make_folder(folder: Path) -> Path:
    """Make the report's folder before the long work, and check that it can be written.

    Raises: FileError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise FileError(folder, f"cannot be written: {error.strerror or error}; choose another --out") from None


def _score_snapshots(run: TrainedRun, data_path: Path, device: str) -> None:
    split = data_split.load_of_run(data_path, run, "validation", STANDARD.holdout)
    scores = score_snapshots(run.path, split, STANDARD, default_cache_dir(), ProgressPrinter(), device)
    click.echo(
        f"{'KIMG':>10}  {'FRÉCHET DISTANCE':>16}  {'RECALL':>7}  {'GAN-TEST':>8}  {'SHARPNESS':>9}  MISSES A THRESHOLD"
    )
    for score in scores.scores:
        recall = "" if score.recall is None else f"{score.recall:.2%}"
        gan_test = "" if score.gan_test is None else f"{score.gan_test:.2%}"
        sharpness = "" if score.sharpness is None else f"{score.sharpness:.3f}"
        missed = ", ".join(METRICS[name].title for name in score.fails)
        kimg = format_kimg(score.kimg)
        click.echo(f"{kimg:>10}  {score.fd:16.3f}  {recall:>7}  {gan_test:>8}  {sharpness:>9}  {missed}".rstrip())
    click.echo(f"Best: {scores.describe_choice()}")
    click.echo(f"Wrote {scores_path(run.path)}; ganmint publish takes the best, or --checkpoint KIMG")


def _print_report(report: Report) -> None:
    click.echo(format_table(report.metrics))
    for sentence in (*report.notes, *summarise(report)):
        click.echo(sentence)
    if report.reference_source == "from the cache":
        click.echo("The metrics of the real images came from the cache.")
    click.echo(f"Gate: {'passed' if report.gate.passed else 'not passed'}")
    for failure in report.gate.failures:
        click.echo(f"  {failure}")


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint publish runs/mydigits --name mydigits --data tests/data/digits\n"
    '  ganmint publish runs/mydigits --name mydigits --accept "a first try"',
)
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option("--name", required=True, help="The model's name: a-z, 0-9, - and _.")
@click.option(
    "--data",
    "data_path",
    type=PATH,
    help="The data that RUN was trained on. RUN is evaluated as by ganmint evaluate, and must pass the thresholds "
    "of its preset.",
)
@click.option(
    "--accept",
    metavar="REASON",
    default="",
    help="Publish even if it does not pass, or without an evaluation; the model card states the reason.",
)
@click.option(
    "--checkpoint",
    metavar="best|latest|KIMG",
    default="best",
    show_default=True,
    help="The state of RUN to publish; best: of the snapshots and the newest, the one with the lowest Fréchet distance "
    "on validation images, of those that meet the gate's thresholds there if any does.",
)
@click.option(
    "--with-training-state",
    is_flag=True,
    help="Add training.safetensors, from which a training can start; serving never reads it.",
)
@click.option("--version", help="Three whole numbers, e.g. 1.0.0. Default: the next major version.")
@click.option("--batch-size", type=click.IntRange(1, 1024), help="The CPU's fixed batch, instead of measuring it.")
@click.option("--licence", help="The licence of the weights. Default: the training data's.")
@click.option("--to", type=PATH, help="Write the model to this folder instead of the model store.")
def publish(
    run_folder: Path,
    name: str,
    data_path: Path | None,
    accept: str,
    checkpoint: str,
    with_training_state: bool,
    version: str | None,
    batch_size: int | None,
    licence: str | None,
    to: Path | None,
) -> None:
    """Evaluate a run's generator, export it, and put it into the model store as a new version.

    A running service loads a new version within seconds. A published version never changes.
    """
    options = PublishOptions(
        name=name,
        version=version,
        batch_size=batch_size,
        licence=licence,
        to=to,
        data=data_path,
        accept=accept,
        checkpoint=checkpoint,
        with_training_state=with_training_state,
    )
    evaluation = EvaluationSettings(cache_dir=default_cache_dir(), progress=ProgressPrinter())
    needs_signature = bool(signing.read_trust().keys)
    stored = publish_run(run_folder, options, evaluation)
    click.echo(f"Published {stored} to {stored.path}")
    manifest = read_manifest(stored.path)
    gate = manifest.gate
    if gate and not gate.passed:
        outcome = "did not pass" if manifest.scores else "was not measured against"
        click.echo(f"It {outcome} its gate; its model card states why it was published: {gate.accepted}")
    click.echo(f"Next: {_next_command(stored, is_in_store=to is None, needs_signature=needs_signature)}")


def _next_command(stored: StoredModel, *, is_in_store: bool, needs_signature: bool) -> str:
    """Return the command that leads from a published model to one that is served."""
    if needs_signature:
        model = f"{stored.name}/{stored.version}" if is_in_store else shlex.quote(str(stored.path))
        return f"ganmint models sign {model} --private-key KEY.pem"
    if not is_in_store:
        return f"ganmint models install {shlex.quote(str(stored.path))}"
    return f"GANMINT_MODELS={stored.name} ganmint serve"
