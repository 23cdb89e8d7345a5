"""Measure what each setting of the recipe earns: the same data, seed and kimg, one setting changed in each row.

Run: python -m benchmarks.recipes --data path/to/mnist. Trains every row into runs/recipes (all of it
resumes when run again), measures each by `ganmint evaluate`, and prints the table for
benchmarks/recipes.md. Rows take about 10 minutes each for 60 kimg on one core.
"""

from __future__ import annotations

import argparse
import math
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.servers import get_cpu_name
from training.runs.comparison import RunSummary, read_run
from training.runs.run_dir import report_path

# R3GAN's recipe alone: the digits preset with every optional part off.
PLAIN = (
    "digits",
    "encoder=null",
    "clip_fakes=false",
    "generator.input_layer=basis",
    "generator.label_dim=32",
    "discriminator.minibatch_group=1",
    "penalty_every=1",
    "lr.end=1e-4",
    "gamma.end=0.1",
    "ema_halflife_kimg.end=15",
    "latent_std=1",
)
# The preset and the settings of each row.
ROWS: dict[str, tuple[str, ...]] = {
    "the digits preset": ("digits",),
    "R3GAN (reference)": PLAIN,
    "DCGAN": ("dcgan",),
    **{
        name: (*PLAIN, *settings)
        for name, settings in {
            "classic loss": ("objective=classic",),
            "lazy penalties, every 4": ("penalty_every=4",),
            "no penalties": ("gamma={start: 0, end: 0}",),
            "minibatch standard deviation": ("discriminator.minibatch_group=4",),
            "encoder": ("encoder={}",),
            "clipped images": ("clip_fakes=true",),
            "dense input layer": ("generator.input_layer=dense",),
            "encoder, clipped images": ("encoder={}", "clip_fakes=true"),
            "narrower latents": ("latent_std=0.9",),
            "InfoGAN codes": ("infogan_codes=2",),
            "augmentation": ("augment={}",),
            "bfloat16": ("precision=bfloat16",),
            "grouped blocks": ("generator.group=16", "discriminator.group=16"),
            "narrower generator": ("generator.widths=[64, 32, 16]",),
            "wider generator": ("generator.widths=[128, 64, 32]",),
            "wider discriminator": ("discriminator.widths=[96, 48, 24]",),
        }.items()
    },
}
SCORES = ("gan_train", "gan_test", "fd", "recall", "coverage")


def main() -> None:
    """Train and evaluate every row, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with MNIST's four files")
    parser.add_argument("--kimg", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument(
        "--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help="a setting of every row"
    )
    arguments = parser.parse_args()
    runs = {}
    for row in arguments.only:
        out = arguments.runs / f"{arguments.kimg:g}-kimg-seed-{arguments.seed}" / row.replace(" ", "-")
        preset, *settings = ROWS[row]
        amount = [f"{name}={arguments.kimg}" for name in ("total_kimg", "schedule_kimg")]
        shared = [*amount, f"seed={arguments.seed}", "threads=1", *arguments.settings]
        _train(preset, [*settings, *shared], arguments.data, out)
        if not report_path(out).exists():
            _ganmint("evaluate", str(out), "--data", str(arguments.data))
        runs[row] = read_run(out)
    machine = [get_cpu_name(), f"Python {platform.python_version()}"]
    print(", ".join([*machine, f"{arguments.kimg:g} kimg, seed {arguments.seed}", *arguments.settings]))
    print("\n".join(_table(runs)))


def _train(preset: str, settings: list[str], data: Path, out: Path) -> None:
    sets = [part for setting in settings for part in ("--set", setting)]
    _ganmint("train", "--preset", preset, "--data", str(data), "--out", str(out), "--device", "cpu", *sets)


def _ganmint(*arguments: str) -> None:
    """Run the command; exit if it fails, but not if a training diverges: that is a result."""
    print(f"$ ganmint {shlex.join(arguments)}", flush=True)
    process = subprocess.run([sys.executable, "-m", "ganmint", *arguments], check=False)
    if process.returncode != 0 and arguments[0] != "train":
        raise SystemExit(process.returncode)


def _table(runs: dict[str, RunSummary]) -> list[str]:
    """Return the lines of a Markdown table; benchmarks.training measures how fast each row trains."""
    lines = [
        f"| recipe | settings | {' | '.join(SCORES)} | kimg |",
        f"| --- | --- |{' --- |' * (len(SCORES) + 1)}",
    ]
    for row, run in runs.items():
        preset, *settings = ROWS[row]
        results = run.results()
        scores = [f"{results.get(name, math.nan):.4g}" for name in SCORES]
        own = ", ".join(f"`{setting}`" for setting in settings if setting not in PLAIN)
        description = own or ("plain" if settings else f"preset `{preset}`")
        lines.append(f"| {row} | {description} | {' | '.join(scores)} | {results['kimg']:g} |")
    return lines


if __name__ == "__main__":
    main()
