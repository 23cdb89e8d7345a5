"""The train command."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path

import click

from models.cli import PATH, device_option
from models.errors import InputError
from models.runtime.loading import resolve_device
from training import configured_data
from training.commands.data_options import describe_reading
from training.config import Config
from training.config_files import REPLACED, dump_config, find_preset, list_presets, load_preset
from training.data.dataset import Dataset
from training.data.split import count_parts
from training.data.toys import TOYS
from training.data_config import DataConfig
from training.distributed import local_device, main_process_output
from training.evaluation.sample_size import describe_too_few
from training.own_preset import OWN
from training.precision import describe_precision, resolve_precision
from training.progress import format_duration, format_three_digits
from training.runs import checkpoint
from training.runs.cost import describe_weights, least_measured_images, outline, process_memory
from training.runs.loop import check_shape, describe_data, drop_other_terms, measure_rate, run
from training.runs.mlflow_logger import TRACKERS, require_trackers
from training.runs.run_dir import GRIDS_FOLDER, read_saved, refuse_other_files, suggest_model_name

# Seconds of steps by which the time to the end is estimated.
MEASURE_S = 1.0


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint train --preset toy1d --out runs/toy\n"
    "  ganmint train --preset digits --data tests/data/digits --out runs/mydigits --set total_kimg=2\n"
    "  ganmint train --data tests/data/digits --out runs/own --dry-run",
)
@click.option(
    "--preset",
    help=f"Configuration to start from: {', '.join(list_presets())}. Default: own, which suits its networks "
    "to the images' side.",
)
@click.option(
    "--data",
    "data_path",
    type=PATH,
    help="Training data: a folder or zip of images (one folder per class, or a labels csv), an npz file, MNIST's "
    "IDX files, CIFAR, parquet and others (docs/training.md). The toy presets make their own.",
)
@click.option("--out", type=PATH, required=True, help="Run folder. Run the same command again to resume.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting, e.g. total_kimg=100 or lr.start=5e-4. VALUE is YAML; --dry-run shows every setting. "
    "Repeatable.",
)
@device_option
@click.option(
    "--init",
    metavar="RUN-or-MODEL",
    help="Start a new run from this run's newest checkpoint, or from a model: its training state, or its generator "
    "alone if it has none. Settings and the count of images are the new run's own.",
)
@click.option(
    "--other-classes", is_flag=True, help="With --init: let the data have other classes than it was trained on."
)
@click.option(
    "--track",
    multiple=True,
    type=click.Choice(sorted(TRACKERS)),
    help="Report to MLflow too: to MLFLOW_TRACKING_URI, or to mlflow.db in the current folder.",
)
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration, the data and the cost, then stop.")
def train(
    preset: str | None,
    data_path: Path | None,
    out: Path,
    assignments: tuple[str, ...],
    device: str,
    init: str | None,
    other_classes: bool,
    track: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Train a generator, or resume a run.

    Every tick (tick_kimg thousand images shown) prints a progress line, appends to OUT/stats.jsonl and
    OUT/tensorboard, and saves a grid of samples in OUT/grids and a checkpoint. If the training is killed, the
    same command resumes from the last checkpoint and ends with the same weights, bit for bit on a CPU. Under
    torchrun, several processes share each batch.
    """
    with main_process_output():
        require_trackers(track)
        if not dry_run:
            refuse_other_files(out)
        resolved_device = local_device(resolve_device(device))
        saved = None
        # A folder that cannot be read is refused in words when it is locked.
        with contextlib.suppress(PermissionError):
            saved = read_saved(out)
        config, dataset, num_test = _resolve(preset, data_path, assignments, saved)
        config = resolve_precision(config, resolved_device, saved)
        check_shape(config, dataset)
        config = drop_other_terms(config, dataset)
        if dry_run:
            click.echo(dump_config(config), nl=False)
        _print_plan(config, dataset, num_test, resolved_device, out, saved is not None)
        _print_cost(config, dataset, resolved_device, out, dry_run)
        if dry_run:
            return
        click.echo(f"# training; a line after every {config.tick_kimg:g} kimg (thousand images shown)")
        click.echo(f"# see how it goes in {out / GRIDS_FOLDER}: a picture of samples after every line")
        if config.encoder:
            click.echo("# the reconstruction falls as training goes well; the losses need not")
        run(config, dataset, out, resolved_device, shlex.join(["ganmint", *sys.argv[1:]]), track, init, other_classes)
        if not config.data.is_toy:
            options = f"--name {suggest_model_name(out)} --data {shlex.quote(str(data_path))}"
            click.echo(f"Trained. Next: ganmint publish {shlex.quote(str(out))} {options}")


def _print_plan(config: Config, dataset: Dataset, num_test: int, device: str, out: Path, is_resumed: bool) -> None:
    classes = _describe_classes(dataset)
    shape = "x".join(map(str, dataset.shape))
    click.echo(f"# data: {dataset.name}, {len(dataset)} samples of {shape}, {classes}, sha256 {dataset.digest[:12]}")
    for line in describe_reading(dataset, config.data.decoding):
        click.echo(f"# {line}")
    if not config.data.is_toy:
        click.echo(f"# {_describe_parts(config.data, dataset, num_test)}")
    data_info = describe_data(config, dataset)
    hint = ""
    if data_info["licence"] == "not stated":
        hint = "; give --set data.name=... --set data.licence=... --set data.attribution=..."
    click.echo(f"# the model card will state: {data_info['name']}, licence {data_info['licence']}{hint}")
    click.echo(f"# settings: preset {config.preset}; --dry-run shows them all")
    if config.total_kimg < config.schedule_kimg:
        click.echo(
            f"# schedule: lr, gamma and beta2 change over {config.schedule_kimg:g} kimg, this run ends at "
            f"{config.total_kimg:g}; --set schedule_kimg={config.total_kimg:g} fits them to it"
        )
    click.echo(f"# device: {device}, precision {describe_precision(config, device, is_resumed)}")
    click.echo(f"# out: {out}")


def _describe_classes(dataset: Dataset) -> str:
    if dataset.has_continuous_label:
        return f"{dataset.factors[0].column} from {dataset.class_names[0]} to {dataset.class_names[-1]}"
    return f"{dataset.num_classes} classes" if dataset.num_classes else "no labels"


def _describe_parts(data: DataConfig, dataset: Dataset, num_test: int) -> str:
    """Say which images are for what.

    Args: num_test, the number of test images that are no share of `dataset`.
    """
    train, validation, held_out = count_parts(dataset.groups, data.holdout, data.validation, data.stratify_holdout)
    said = [f"{train} images to train on, {validation} to choose by, {num_test or held_out} to test with"]
    if num_test and held_out:
        said.append(f"{held_out} are held out for nothing, as there are test images (data.holdout=0 trains on them)")
    said.append(describe_too_few(dataset.groups, data, num_test))
    return f"parts: {'; '.join(filter(None, said))}"


def _print_cost(config: Config, dataset: Dataset, device: str, out: Path, dry_run: bool) -> None:
    """Print the size of the networks, the memory, and the time to the end by a few steps that are thrown away.

    A run that takes no more steps than these begins at once, without the time.
    """
    weights, step_bytes = outline(config, dataset)
    click.echo(f"# networks: {describe_weights(weights)} weights")
    place = "of the GPU's memory" if device.startswith("cuda") else "of memory with PyTorch and the data"
    in_use = 0 if device.startswith("cuda") else process_memory()
    click.echo(f"# a step needs about {(in_use + step_bytes) / 2**30:.1f} GiB {place}, by its shapes")
    path = checkpoint.latest_path(out) if out.is_dir() else None
    left_kimg = config.total_kimg - (checkpoint.count_images(path) / 1000 if path else 0)
    if left_kimg <= 0 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return
    if not dry_run and left_kimg * 1000 <= least_measured_images(config):
        return
    rate = measure_rate(config, dataset, device, MEASURE_S)
    click.echo(
        f"# speed: {format_three_digits(rate)} images/s, {format_three_digits(1000 / rate)} s per kimg; "
        f"{left_kimg:g} kimg take about {format_duration(left_kimg * 1000 / rate)}, by a few steps"
    )


def _resolve(
    preset: str | None, path: Path | None, assignments: tuple[str, ...], saved: Config | None
) -> tuple[Config, Dataset, int]:
    """Resolve the configuration and load the data; choose a preset by the data if none is given.

    Args: saved, the configuration of the run that is resumed.
    Returns: the configuration, the images, and the number of test images beside them.
    """
    if preset is None and path is None:
        raise InputError(f"give one of {', '.join(list_presets())}, or --data to choose one by the images", "--preset")
    # What the labels are does not depend on the images.
    first = load_preset(preset or OWN, assignments)
    dataset = load_data(first, path)
    num_test = count_test_images(first, path, dataset)
    name = preset or find_preset(dataset.shape)
    if saved and name == OWN and saved.preset in REPLACED:
        name = saved.preset
    elif name in REPLACED and not (saved and saved.preset == name):
        click.echo(f"# preset: {name} is called {OWN} now")
    elif preset is None:
        click.echo(f"# preset: {name}, by the images' shape")
    return load_preset(name, assignments, dataset.shape, saved, num_test > 0), dataset, num_test


def load_data(config: Config, path: Path | None) -> Dataset:
    """Load the data at --data, or make those of a toy preset.

    Raises: InputError for --data; DataError.
    """
    if config.data.is_toy:
        if path is not None:
            raise InputError(f"preset {config.preset} makes its own data; leave --data out", "--data")
        return TOYS[config.data.kind]()
    if path is None:
        raise InputError(f"preset {config.preset} needs data, e.g. --data path/to/mnist", "--data")
    return configured_data.load(path, config.data)


def count_test_images(config: Config, path: Path | None, dataset: Dataset) -> int:
    """Read the test images beside the data, so that what is wrong with them is said before the training; count them.

    Raises: DataError.
    """
    test = configured_data.load_test(path, config.data, dataset) if path else None
    return 0 if test is None else len(test)
