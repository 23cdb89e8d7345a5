"""Kills exports with SIGKILL at random moments and checks that they end with the bytes of an undisturbed run.

Run: make soak-export. Every other kill hits the parent alone, so that its workers must end by themselves; the others
hit the whole process group. A killed export is started again until one ends.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from models import store
from service.export.plan import FORMATS

ROOT = Path(__file__).parents[1]


def run_or_kill(arguments: list[str], timeout_s: float | None, parent_only: bool = False) -> bool:
    """Run an export and kill it after `timeout_s`; returns whether it ended before."""
    command = [sys.executable, "-m", "ganmint", "export", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        if parent_only:
            os.kill(process.pid, signal.SIGKILL)
        else:
            os.killpg(process.pid, signal.SIGKILL)
        # This returns when the workers have ended, too: they hold the pipe.
        process.communicate(timeout=200)
        return False
    if process.returncode:
        raise AssertionError(output.decode())
    return True


def read_tree(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, hidden files and leftovers included."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def kill_and_compare(arguments: list[str], folder: Path, num_kills: int, seed: int) -> int:
    """Kill an export again and again, let it end, and compare it with an undisturbed run.

    Each kill comes after 0.2 to 1 of the time that the undisturbed run took.

    Args:
        arguments: of `ganmint export`, without --out.
        folder: where the exports are written.
        num_kills: how many kills must hit a running export.
        seed: of the kill times.

    Returns:
        How many kills hit.
    """
    rng = random.Random(seed)
    hits = 0
    started_at = time.monotonic()
    assert run_or_kill([*arguments, "--out", str(folder / "undisturbed")], None)
    duration_s = time.monotonic() - started_at
    expected = read_tree(folder / "undisturbed")
    for attempt in itertools.count():
        out = folder / f"killed-{attempt}"
        command = [*arguments, "--out", str(out)]
        while hits < num_kills:
            has_ended = run_or_kill(command, duration_s * rng.uniform(0.2, 1.0), parent_only=hits % 2 == 1)
            if has_ended:
                break
            hits += 1
        assert run_or_kill(command, None)
        actual = read_tree(out)
        different = sorted(k for k in expected.keys() | actual.keys() if expected.get(k) != actual.get(k))
        assert not different, f"after {hits} kills: {different}"
        if hits >= num_kills:
            return hits
    raise AssertionError


def main() -> None:
    """Test all formats with 1 and 2 workers on the bundled digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started_at = time.monotonic()
    total = 0
    cases = list(itertools.product(FORMATS, ("1", "2")))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = f"{folder}/home"
        for bundled in store.list_bundled():
            store.install(bundled)
        for number, (format_, workers) in enumerate(cases):
            arguments = ["digits", "--count", "2000", "--shard-size", "250", "--labels", "balanced", "--device", "cpu"]
            arguments += ["--format", format_, "--workers", workers]
            kills = -(-(options.kills - total) // (len(cases) - number))
            case = Path(folder) / f"{format_}-{workers}"
            hits = kill_and_compare(arguments, case, kills, options.seed + number)
            total += hits
            print(f"{format_}, {workers} worker(s): {hits} kills, the same bytes", flush=True)
    print(f"{total} kills in {time.monotonic() - started_at:.0f} s; every tree ended byte for byte as undisturbed")


if __name__ == "__main__":
    main()
