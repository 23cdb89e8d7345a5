"""Sets up a worker process: signals, its parent's death, open files, the garbage collector, a start that fails."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from models.errors import GanmintError

log = logging.getLogger("ganmint.service")
PR_SET_PDEATHSIG = 1
MAX_OPEN_FILES = 65536
# The arbiter sets it for its workers, so that they know it as their parent.
ARBITER_VARIABLE = "GANMINT_ARBITER_PID"


def end_when_a_start_fails() -> None:
    """In the arbiter: stop, and exit with 1, once a worker says that it cannot start.

    BentoML would start it again for ever, behind a port that takes connections and never answers.
    """
    if has_arbiter():
        return
    os.environ[ARBITER_VARIABLE] = str(os.getpid())
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        # BentoML's own exit code is 0 after any orderly stop.
        atexit.register(_exit_with_1)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGUSR1, stop)


@contextlib.contextmanager
def report_failed_start() -> Iterator[None]:
    """In a worker: if the block fails, say why, tell the arbiter, and end this process."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, GanmintError):
            traceback.print_exc()
        print(f"Error: the service cannot start: {error}", file=sys.stderr, flush=True)
        if sys.platform != "win32" and has_arbiter():
            os.kill(os.getppid(), signal.SIGUSR1)
        sys.exit(1)


def has_arbiter() -> bool:
    """Return whether BentoML's arbiter, which set the variable, is this process's parent."""
    return os.environ.get(ARBITER_VARIABLE) == str(os.getppid())


def _exit_with_1() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def die_with_parent() -> None:
    """End this worker when BentoML's arbiter is killed, or has been; otherwise it would keep the port, unsupervised."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # Killed while this worker started, it sends no signal any more.
    if ARBITER_VARIABLE in os.environ and not has_arbiter():
        sys.exit("Error: the service cannot start: its arbiter has ended")


def drain_on_sigterm(on_drain: Callable[[], None], pause_s: float) -> None:
    """On SIGTERM or SIGINT call `on_drain`, keep serving for `pause_s`, then call the server's own handler.

    Load balancers need the pause to notice that the service is not ready. Call this on the event loop's thread,
    after the server has set its handlers.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        stop: Any = signal.getsignal(number)

        def begin(received: int, stop: Any = stop) -> None:
            on_drain()
            log.info("stopping: not ready from now on; serving for %g s more, then finishing open requests", pause_s)
            loop.call_later(pause_s, stop, received, None)

        def handler(received: int, _: FrameType | None, begin: Callable[[int], None] = begin) -> None:
            loop.call_soon_threadsafe(begin, received)

        if callable(stop):
            signal.signal(number, handler)


def raise_file_limit() -> None:
    """Raise the limit of open files to the user's maximum; most shells start with 1,024."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS reports an infinite hard limit but accepts no more than this.
        soft = min(hard, MAX_OPEN_FILES) if hard > 0 else MAX_OPEN_FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def freeze_garbage() -> None:
    """Exclude all present objects from garbage collection: they stay, and scanning them costs latency (p99)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
