"""The sweep command: a grid of runs, trained, evaluated and compared."""

from __future__ import annotations

import contextlib
import shlex
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import click
import torch

from models.cli import PATH, device_option
from models.errors import FileError, TrainingDivergedError
from models.files import write_atomically
from models.runtime.loading import resolve_device
from training.commands.data_options import describe_reading
from training.commands.runs import comparison_html, format_comparison, tabulate
from training.commands.train import count_test_images, load_data
from training.data.dataset import Dataset
from training.evaluation import data_split
from training.evaluation.evaluate import EvaluationResult, evaluate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.html_report import write_report
from training.evaluation.protocol import STANDARD
from training.evaluation.reference_cache import default_cache_dir
from training.evaluation.toy_metrics import evaluate_toy
from training.progress import ProgressPrinter, format_duration, format_three_digits
from training.runs import comparison, loop
from training.runs.mlflow_logger import TRACKERS, require_trackers
from training.runs.prior_phase import needs_prior
from training.runs.run_dir import EVALUATION_FOLDER
from training.runs.score_record import read_score_records
from training.runs.sweep import PlannedRun, check_folders, check_reading, parse_axes, plan, trained_kimg
from training.runs.trained_run import load_latest

COMPARISON_FILE = "compare.html"


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint sweep --preset toy1d --out sweeps/lr --set lr.start=5e-3,1e-3 --seeds 0,1 --set total_kimg=20\n"
    "  ganmint sweep --preset digits --data path/to/mnist --out sweeps/gamma --set gamma.start=1,2 --dry-run",
)
@click.option("--preset", required=True, help="Configuration to start from, as for train.")
@click.option("--data", "data_path", type=PATH, help="Training data, as for train. The toy presets make their own.")
@click.option("--out", type=PATH, required=True, help="Folder of the runs. Run the same command again to go on.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE,VALUE...",
    help="The values of a setting, each YAML; commas inside brackets and quotes belong to a value. The grid has every "
    "combination. One value is for all runs. Repeatable.",
)
@click.option("--seeds", metavar="SEED,SEED...", help="The same as --set seed=SEED,SEED...")
@device_option
@click.option(
    "--track", multiple=True, type=click.Choice(sorted(TRACKERS)), help="Report every run and its scores to MLflow too."
)
@click.option("--dry-run", is_flag=True, help="Print the grid and how long it takes, measured on a few steps; stop.")
def sweep(
    preset: str,
    data_path: Path | None,
    out: Path,
    assignments: tuple[str, ...],
    seeds: str | None,
    device: str,
    track: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Train a grid of settings, one run after the other, and compare the runs.

    Each run is a folder in OUT, trained as by ganmint train and evaluated on the validation images. At the end, the
    table is printed and OUT/compare.html has it with the curves. If it is killed, the same command goes on:
    finished runs are skipped.
    """
    require_trackers(track)
    axes = parse_axes(assignments, seeds)
    planned = plan(preset, axes)
    check_reading(planned)
    first = planned[0].config
    dataset = load_data(first, data_path)
    runs = plan(preset, axes, dataset.shape, count_test_images(first, data_path, dataset) > 0)
    # Every run is checked before the first one starts.
    check_folders(runs, out)
    for run in runs:
        loop.check_shape(run.config, dataset)
    resolved_device = resolve_device(device)
    click.echo(f"# {len(runs)} runs in {out}, on {dataset.name}, {len(dataset)} samples; device {resolved_device}")
    for line in describe_reading(dataset, first.data.decoding):
        click.echo(f"# {line}")
    if dry_run:
        _print_grid(runs, dataset, out, resolved_device)
        return
    diverged = _train_all(runs, dataset, data_path, out, resolved_device, track)
    _compare([out / run.name for run in runs], out)
    if diverged:
        raise TrainingDivergedError(f"{len(diverged)} of {len(runs)} runs diverged: {', '.join(diverged)}")


def _print_grid(runs: Sequence[PlannedRun], dataset: Dataset, out: Path, device: str) -> None:
    rates: dict[str, float] = {}
    total_s = 0.0
    for run in runs:
        key = run.config.model_copy(update={"seed": 0}).model_dump_json()
        if key not in rates:
            rates[key] = _past_rate(out / run.name) or loop.measure_rate(run.config, dataset, device)
        left_kimg = max(run.config.total_kimg - trained_kimg(out / run.name), 0.0)
        seconds = left_kimg * 1000 / rates[key]
        total_s += seconds
        rate = format_three_digits(rates[key])
        click.echo(f"{run.name}  {left_kimg:g} kimg  {rate} images/s  about {format_duration(seconds)}")
    click.echo(f"about {format_duration(total_s)} of training in all; the evaluation of each run comes on top")


def _past_rate(run: Path) -> float | None:
    """Return the median images per second of a run's ticks; None without any."""
    try:
        return statistics.median(tick["images_per_second"] for tick in comparison.read_ticks(run))
    except (FileError, KeyError):
        return None


def _train_all(
    runs: Sequence[PlannedRun],
    dataset: Dataset,
    data_path: Path | None,
    out: Path,
    device: str,
    track: tuple[str, ...],
) -> list[str]:
    """Train and evaluate what is not finished; return the names of runs that diverged."""
    diverged = []
    seconds: list[float] = []
    unfinished = [
        run.name for run in runs if not (_is_trained(run, out / run.name) and _is_evaluated(run, out / run.name))
    ]
    for k, run in enumerate(runs):
        left = f"; about {format_duration(statistics.fmean(seconds) * len(unfinished))} to the end" if seconds else ""
        click.echo(f"# run {k + 1} of {len(runs)}: {run.name}{left}")
        if run.name not in unfinished:
            click.echo("finished before")
            continue
        start_s = time.monotonic()
        try:
            _train_and_evaluate(run, dataset, data_path, out / run.name, device, track)
        except TrainingDivergedError as error:
            click.echo(f"Error: {error}", err=True)
            diverged.append(run.name)
        seconds.append(time.monotonic() - start_s)
        unfinished.remove(run.name)
    return diverged


def _train_and_evaluate(
    run: PlannedRun, dataset: Dataset, data_path: Path | None, folder: Path, device: str, track: tuple[str, ...]
) -> None:
    if not _is_trained(run, folder):
        loop.run(run.config, dataset, folder, device, _train_command(run, data_path, folder), track)
        # A run leaves torch strict, which the evaluation does not need.
        torch.set_deterministic_debug_mode("default")
    write_report(_evaluate(folder, data_path, device), folder / EVALUATION_FOLDER, folder)
    for name in track:
        with contextlib.closing(TRACKERS[name](folder, run.config)) as tracker:
            tracker.log_scores(read_score_records(folder)[-1])


def _train_command(run: PlannedRun, data_path: Path | None, folder: Path) -> str:
    """Return the command that makes the same run by itself, for its model card."""
    data = ["--data", str(data_path)] if data_path else []
    settings = [argument for assignment in run.assignments for argument in ("--set", assignment)]
    return shlex.join(["ganmint", "train", "--preset", run.config.preset, *data, "--out", str(folder), *settings])


def _is_trained(run: PlannedRun, folder: Path) -> bool:
    return trained_kimg(folder) >= run.config.total_kimg and not needs_prior(run.config, folder)


def _is_evaluated(run: PlannedRun, folder: Path) -> bool:
    """Tell whether the newest report is of the newest checkpoint, by this version's protocol, for choices."""
    records = read_score_records(folder)
    if not records or records[-1].kimg != trained_kimg(folder) or records[-1].basis.protocol != STANDARD.name:
        return False
    # Without validation images, a report may be of others.
    return not run.config.data.validation or records[-1].basis.split != "test"


def _evaluate(folder: Path, data_path: Path | None, device: str) -> EvaluationResult:
    run = load_latest(folder)
    if data_path is None:
        return evaluate_toy(run)
    generator = EvaluatedGenerator.from_run(run, device)
    split = data_split.load(data_path, generator.data, "validation", STANDARD.holdout)
    return evaluate(generator, split, STANDARD, default_cache_dir(), None, ProgressPrinter())


def _compare(folders: Sequence[Path], out: Path) -> None:
    """Print the table of the runs that have a tick, and write the page."""
    summaries = comparison.read_runs([folder for folder in folders if _past_rate(folder) is not None])
    if not summaries:
        return
    for line in format_comparison(tabulate(summaries)):
        click.echo(line)
    write_atomically(out / COMPARISON_FILE, comparison_html(summaries))
    click.echo(f"page: {out / COMPARISON_FILE}")
