"""How a worker process starts and ends.

Knows: that SIGTERM first turns readiness off and only later stops the server, that a worker must not
outlive BentoML's arbiter, and how the garbage collector and the limit on open files are kept out of the
way. Does not know: routes, models.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

log = logging.getLogger("ganmint.service")
PR_SET_PDEATHSIG = 1
MOST_FILES = 65536


def die_with_parent() -> None:
    """End this worker when the arbiter is killed; else it would keep the port and nobody would watch it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def drain_on_sigterm(start: Callable[[], None], pause_s: float) -> None:
    """On SIGTERM or SIGINT: `start`, serve on for `pause_s`, then let the server's own handler stop it.

    The pause is the time that load balancers need to see that readiness is gone. To be called on the
    event loop's thread, after the server has set its handlers.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        stop: Any = signal.getsignal(number)

        def begin(received: int, stop: Any = stop) -> None:
            start()
            log.info("stopping: not ready from now on, serving on for %g s, then finishing what was accepted", pause_s)
            loop.call_later(pause_s, stop, received, None)

        def handler(received: int, _: FrameType | None, begin: Callable[[int], None] = begin) -> None:
            loop.call_soon_threadsafe(begin, received)

        if callable(stop):
            signal.signal(number, handler)


def raise_file_limit() -> None:
    """Let there be as many open connections as the user may have; most shells start with 1,024."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS calls the hard limit infinite and takes no more than this.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MOST_FILES) if hard > 0 else MOST_FILES, hard))


def freeze_garbage() -> None:
    """What is loaded now stays; looking at it again and again only costs time (p99)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
