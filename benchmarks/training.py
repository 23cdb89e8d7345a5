"""Measure how fast training is with different settings and numbers of processes.

Run: make bench-training. Each round trains every variant for some steps by the real command, one after
another; ratios are relative to the first variant of the same round. The data are random pixels. --faces
measures the networks of the preset own for 64x64 pixels in colour, otherwise those for 28x28 grey ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Variant(NamedTuple):
    """What is measured: a number of processes with one thread each, and settings."""

    name: str
    processes: int
    settings: tuple[str, ...] = ()


VARIANTS = (
    Variant("float32, one process (reference)", 1),
    Variant("float32, two processes", 2),
    Variant("bfloat16, one process", 1, ("precision=bfloat16",)),
    Variant("penalties every 4th step", 1, ("penalty_every=4",)),
    Variant("bfloat16, penalties every 4th step", 1, ("precision=bfloat16", "penalty_every=4")),
    Variant("augmented", 1, ("augment={p: 0.5}",)),
    Variant("encoder", 1, ("encoder={}",)),
)


def main() -> None:
    """Print the median of each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kimg", type=float, default=1.0, help="per measurement")
    parser.add_argument("--faces", action="store_true")
    arguments = parser.parse_args()
    shape = (256, 64, 64, 3) if arguments.faces else (256, 28, 28, 1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "random.npz"
        np.savez(data, images=np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8))
        rounds = [
            [_images_per_second(variant, data, arguments.kimg) for variant in VARIANTS] for _ in range(arguments.rounds)
        ]
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, preset own for {shape[1]}x{shape[2]}; medians of {len(rounds)} rounds")
    for k, variant in enumerate(VARIANTS):
        rate = statistics.median(row[k] for row in rounds)
        ratio = statistics.median(row[k] / row[0] for row in rounds)
        print(f"{variant.name:38}{rate:8.1f} images/s{ratio:7.2f}")


def _images_per_second(variant: Variant, data: Path, kimg: float) -> float:
    """Measure the second of two ticks; the first one warms up."""
    off = ("augment=null", "encoder=null", "penalty_every=1", "precision=float32")
    settings = (*off, "threads=1", f"tick_kimg={kimg / 2}", f"total_kimg={kimg}")
    sets = [part for setting in (*settings, *variant.settings) for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(variant.processes), "-m", "ganmint", "train", "--preset", "own"),
                *("--data", str(data), "--out", str(out), "--device", "cpu", *sets),
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        rate: float = json.loads((out / "stats.jsonl").read_text().splitlines()[-1])["images_per_second"]
        return rate


if __name__ == "__main__":
    main()
