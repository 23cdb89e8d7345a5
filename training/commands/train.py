"""The command that trains.

Knows: options, and what is printed before and after. Does not know: how training works.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from models.cli import PATH, device_option
from models.errors import InputError
from models.runtime.loading import resolve_device
from training.config import PRESET_BY_SIDE, Config, dump_config, find_preset, list_presets, load_preset
from training.data.dataset import Dataset, toy1d, toy25
from training.data.loader import load_dataset
from training.distributed import local_device, main_process_output
from training.runs.loop import check_shape, describe_data, run
from training.runs.mlflow_logger import TRACKERS, require_trackers
from training.runs.run_dir import suggest_model_name


@click.command(
    epilog="\b\nExamples:\n"
    "  ganmint train --preset toy1d --out runs/toy\n"
    "  ganmint train --preset digits --data tests/data/digits --out runs/mydigits --set total_kimg=2\n"
    "  ganmint train --data tests/data/digits --out runs/own --dry-run"
)
@click.option("--preset", help="Configuration to start from, by default one that fits the images: "
              f"{', '.join(list_presets())}.")  # fmt: skip
@click.option("--data", "data_path", type=PATH, help="Training data: an IDX folder (MNIST), a folder or zip of "
              "pictures (class folders, or a labels csv), or npz. The toy presets make their own.")  # fmt: skip
@click.option("--out", type=PATH, required=True, help="Run folder. Run the same command again to resume.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Change a setting, e.g. "
              "total_kimg=100 or lr.start=5e-4. VALUE is YAML; --dry-run shows every setting. Repeatable.")  # fmt: skip
@device_option
@click.option("--init", type=PATH, metavar="RUN", help="Begin a new run with what this one has learnt: its newest "
              "networks, optimisers and count of images, under settings of its own.")  # fmt: skip
@click.option("--track", multiple=True, type=click.Choice(sorted(TRACKERS)), help="Report to MLflow too "
              "(MLFLOW_TRACKING_URI, or mlflow.db here).")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and the data, then stop.")
def train(
    preset: str | None,
    data_path: Path | None,
    out: Path,
    assignments: tuple[str, ...],
    device: str,
    init: Path | None,
    track: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Train a generator, or resume a run.

    Every tick prints a progress line, appends to OUT/stats.jsonl and OUT/tensorboard, and leaves a
    picture in OUT/grids and a checkpoint. Killed at any moment, the same command goes on from the
    last checkpoint and ends with the same weights, bit for bit on a CPU. Started by torchrun,
    several processes share each batch.
    """
    with main_process_output():
        require_trackers(track)
        config, dataset = _chosen(preset, data_path, assignments)
        chosen = local_device(resolve_device(device))
        check_shape(config, dataset)
        if dry_run:
            click.echo(dump_config(config), nl=False)
        _print_plan(config, dataset, chosen, out)
        if dry_run:
            return
        click.echo(f"# training; a line after every {config.tick_kimg:g} kimg (thousand images shown)")
        run(config, dataset, out, chosen, shlex.join(["ganmint", *sys.argv[1:]]), track, init)
        if config.data.kind == "images":
            where = f"--name {suggest_model_name(out)} --data {shlex.quote(str(data_path))}"
            click.echo(f"Trained. Next: ganmint publish {shlex.quote(str(out))} {where}")


def _print_plan(config: Config, dataset: Dataset, device: str, out: Path) -> None:
    classes = f"{len(dataset.class_names)} classes" if dataset.class_names else "no labels"
    shape = "x".join(map(str, dataset.shape))
    click.echo(f"# data: {dataset.name}, {len(dataset)} samples of {shape}, {classes}, sha256 {dataset.digest[:12]}")
    card = describe_data(config, dataset)
    click.echo(f"# the card will say: {card['name']}, licence {card['licence']}", nl=False)
    hint = "; give --set dataset.name=... --set dataset.licence=... --set dataset.attribution=..."
    click.echo(hint if card["licence"] == "not stated" else "")
    click.echo(f"# settings: by preset {config.preset}; --dry-run shows them all\n# device: {device}\n# out: {out}")


def _chosen(preset: str | None, path: Path | None, assignments: tuple[str, ...]) -> tuple[Config, Dataset]:
    if preset is not None:
        config = load_preset(preset, assignments)
        return config, _dataset(config, path)
    if path is None:
        raise InputError(f"give one of {', '.join(list_presets())}, or --data to have one chosen", "--preset")
    # What the labels are does not depend on the preset for one's own pictures.
    dataset = load_dataset(path, load_preset(PRESET_BY_SIDE[28], assignments).data.label_columns)
    name = find_preset(dataset.shape)
    click.echo(f"# preset: {name}, by the images' shape")
    return load_preset(name, assignments), dataset


def _dataset(config: Config, path: Path | None) -> Dataset:
    toys = {"toy1d": toy1d, "toy25": toy25}
    if config.data.kind in toys:
        if path is not None:
            raise InputError(f"preset {config.preset} makes its own data; leave --data out", "--data")
        return toys[config.data.kind]()
    if path is None:
        raise InputError(f"preset {config.preset} needs data, e.g. --data path/to/mnist", "--data")
    return load_dataset(path, config.data.label_columns)
