"""An exporter that is killed with SIGKILL at random moments ends with the bytes of an undisturbed run.

Run: make soak-export. Every kill hits the whole process group, parent and workers alike or the parent alone,
so that workers must end by themselves; runs are started again until one ends.
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

ROOT = Path(__file__).parents[3]


def run(arguments: list[str], timeout_s: float | None, parent_only: bool = False) -> bool:
    """Run an export; kill it after so long. Returns whether it came to its end first."""
    command = [sys.executable, "-m", "ganmint", "export", *arguments]
    log = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        (os.kill if parent_only else os.killpg)(process.pid, signal.SIGKILL)
        # Ends when the workers have ended, too: they hold the pipe.
        process.communicate(timeout=60)
        return False
    if process.returncode:
        raise AssertionError(output.decode())
    return True


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones and leftovers included."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def survive(arguments: list[str], folder: Path, kills: int, seed: int) -> int:
    """Kill an export so often, then let it end, and compare. Returns how many kills hit.

    Kills come after 0.2 to 1 of the time that an undisturbed run takes here.
    Args: arguments: of `ganmint export`, without --out.
    """
    chance, hit = random.Random(seed), 0
    started = time.monotonic()
    assert run([*arguments, "--out", str(folder / "calm")], None)
    took_s = time.monotonic() - started
    wanted = snapshot(folder / "calm")
    for attempt in itertools.count():
        out = folder / f"killed-{attempt}"
        while hit < kills and not run([*arguments, "--out", str(out)], took_s * chance.uniform(0.2, 1.0), hit % 2 == 1):
            hit += 1
        assert run([*arguments, "--out", str(out)], None)
        found = snapshot(out)
        different = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        assert not different, f"after {hit} kills: {different}"
        if hit >= kills:
            return hit
    raise AssertionError


def main() -> None:
    """All formats, 1 and 2 workers, of the bundled digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started, total = time.monotonic(), 0
    cases = list(itertools.product(FORMATS, ("1", "2")))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENTOML_HOME"] = f"{folder}/home"
        for bundled in store.list_bundled():
            store.install(bundled)
        for number, (format_, workers) in enumerate(cases):
            arguments = ["digits", "--count", "2000", "--shard-size", "250", "--labels", "balanced", "--device", "cpu"]
            arguments += ["--format", format_, "--workers", workers]
            kills = -(-(given.kills - total) // (len(cases) - number))
            case = Path(folder) / f"{format_}-{workers}"
            hit = survive(arguments, case, kills, given.seed + number)
            total += hit
            print(f"{format_}, {workers} worker(s): {hit} kills, the same bytes", flush=True)
    print(f"{total} kills in {time.monotonic() - started:.0f} s; every tree ended byte for byte as undisturbed")


if __name__ == "__main__":
    main()
