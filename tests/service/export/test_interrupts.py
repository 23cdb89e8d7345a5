"""SIGINT and SIGTERM end an export, whatever it is doing, and the next run goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.export import interrupts
from service.export.interrupts import Interrupted, deferred, end_on_signals
from tests.conftest import Command
from tests.service.export.conftest import ARGUMENTS, REPOSITORY, tree

ENDLESS = ("export", "tiny", "--count", "1000000", "--format", "webdataset", *ARGUMENTS)

# Runs the program, which gets a signal when it first comes to a place: a function, or the import of a module.
SIGNALLED = """
import importlib, os, sys
place, number = os.environ["SIGNAL_AT"], int(os.environ["SIGNAL_NUMBER"])

def signal_once():
    global place
    if place:
        place = ""
        os.killpg(0, number)

if place.startswith("import "):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == place.removeprefix("import "):
                signal_once()
    sys.meta_path.insert(0, Finder())
else:
    module, _, name = place.rpartition(".")
    module = importlib.import_module(module)
    function = getattr(module, name)
    def signalled(*arguments, **options):
        signal_once()
        return function(*arguments, **options)
    setattr(module, name, signalled)
from ganmint.cli import main
main()
"""

# The exception of the first signal is raised in a destructor, where Python drops it.
LOST = """
import os, signal
from service.export import worker
make = worker.make_shard

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1000))

def losing(*arguments, **options):
    Dropped()
    return make(*arguments, **options)

worker.make_shard = losing
from ganmint.cli import main
main()
"""

# The main thread takes no notice of any exception.
DEAF = """
import os, signal, time
from service.export import interrupts, worker

def deaf(*arguments, **options):
    number = signal.SIGINT
    while True:
        try:
            os.kill(os.getpid(), number)
            number = 0
            time.sleep(1)
        except BaseException:
            pass

interrupts.GRACE_S = 0.1
worker.make_shard = deaf
from ganmint.cli import main
main()
"""


@contextlib.contextmanager
def started(
    *command: str, on_sigint: signal.Handlers = signal.SIG_DFL, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A program in a session of its own.

    SIGINT is set: tests that a shell runs in the background ignore it, and so would their children.
    """
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, on_sigint),
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for as long as the test may take; the end of the process is the end of the wait."""
    while not condition():
        assert process is None or process.poll() is None
        time.sleep(0.05)


def running_in(session: int) -> list[str]:
    """The commands of a session's processes; zombies are left out."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(")")
            fields = rest.split()
            if int(fields[3]) == session and fields[0] != "Z":
                names.append(name)
    return names


def drafts(out: Path, names: str = "*") -> list[Path]:
    return [path for path in out.glob(f".ganmint/aside/{names}/**/*") if path.is_file()]


def shard_drafts(out: Path) -> list[Path]:
    return drafts(out, "0*")


def assert_ended(process: subprocess.Popen[str], exit_code: int, out: Path) -> str:
    """Every process ends, quietly, with this exit code, and nothing half done is left; returns the output."""
    output, errors = process.communicate()
    assert process.returncode == exit_code, errors
    assert "Traceback" not in errors and "Exception ignored" not in errors
    # multiprocessing's own tracker ends a moment after the rest.
    wait_until(lambda: not running_in(process.pid))
    assert not drafts(out)
    return output + errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "workers", "number", "exit_code"),
    [
        ("import service.export.plan", 1, signal.SIGINT, 130),
        ("import service.export.plan", 1, signal.SIGTERM, 143),
        ("service.export.api.resolve_request", 1, signal.SIGINT, 130),
        ("service.export.worker.make_shard", 1, signal.SIGINT, 130),
        ("service.export.worker.make_shard", 1, signal.SIGTERM, 143),
        ("service.export.processes._start_worker", 2, signal.SIGINT, 130),
        ("service.export.processes._receive", 2, signal.SIGINT, 130),
        ("service.export.processes._receive", 2, signal.SIGTERM, 143),
        ("service.export.processes._end", 2, signal.SIGINT, 130),
    ],
)
def test_a_signal_at_any_place_ends_every_process(
    place: str, workers: int, number: int, exit_code: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # Small enough to come to an end where the signal comes there.
    count = ("--count", "40", "--shard-size", "20") if place.endswith("_end") else ()
    arguments = (*ENDLESS, *count, "--out", str(out), "--workers", str(workers))

    with started("-c", SIGNALLED, *arguments, SIGNAL_AT=place, SIGNAL_NUMBER=str(int(number))) as process:
        assert_ended(process, exit_code, out)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_two_workers_shards_ends_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started("-m", "ganmint", *ENDLESS, "--out", str(out), "--workers", "2") as process:
        wait_until(lambda: shard_drafts(out), process)
        os.killpg(process.pid, signal.SIGINT)

        assert "run the same command again to go on" in assert_ended(process, 130, out)


@pytest.mark.slow
@pytest.mark.parametrize(("script", "words"), [(LOST, "Interrupted. 0 of"), (DEAF, "Ended at once")])
def test_a_signal_that_gets_lost_ends_the_export_all_the_same(script: str, words: str, tmp_path: Path) -> None:
    with started("-c", script, *ENDLESS, "--out", str(tmp_path / "out")) as process:
        assert words in assert_ended(process, 130, tmp_path / "out")


@pytest.mark.slow
def test_an_interrupted_export_goes_on_and_ends_with_the_same_bytes(export: Command, tmp_path: Path) -> None:
    arguments = ("export", "tiny", "--count", "50", "--shard-size", "20", "--format", "webdataset", *ARGUMENTS)
    command = ("-c", SIGNALLED, *arguments, "--out", str(tmp_path / "out"))
    with started(*command, SIGNAL_AT="service.export.state.write_commit", SIGNAL_NUMBER="2") as process:
        assert_ended(process, 130, tmp_path / "out")
    assert export(tmp_path / "out").code == 0
    export(tmp_path / "calm")

    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


@pytest.mark.slow
def test_a_background_job_ignores_ctrl_c_and_ends_on_sigterm(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started("-m", "ganmint", *ENDLESS, "--out", str(out), on_sigint=signal.SIG_IGN) as process:
        wait_until(lambda: shard_drafts(out), process)
        os.killpg(process.pid, signal.SIGINT)
        size = sum(path.stat().st_size for path in shard_drafts(out))
        wait_until(lambda: sum(path.stat().st_size for path in shard_drafts(out)) > size, process)
        os.killpg(process.pid, signal.SIGTERM)

        assert_ended(process, 143, out)


def test_handlers_are_as_before_after_a_calm_end() -> None:
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    hook = sys.unraisablehook
    with end_on_signals():
        assert signal.getsignal(signal.SIGTERM) not in before
        assert any(thread.name == "interrupt-watchdog" for thread in threading.enumerate())

    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
    assert sys.unraisablehook is hook
    assert not any(thread.name == "interrupt-watchdog" for thread in threading.enumerate())


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    inside = []

    def run() -> None:
        with end_on_signals():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert inside == [before]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_held_back_until_the_block_ends(
    number: signal.Signals, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(received: int, _frame: object) -> None:
        raise Interrupted(received)

    before = signal.signal(number, interrupt)
    done = []
    try:
        with pytest.raises(Interrupted) as caught, deferred():
            signal.raise_signal(number)
            done.append(True)
    finally:
        signal.signal(number, before)

    assert done and caught.value.exit_code == exit_code
