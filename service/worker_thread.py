"""Runs tasks on one thread, in order, and counts those that are not done."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("ganmint.service")


class WorkerThread:
    """One thread. Any thread may submit tasks to it.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        self._num_tasks = 0

    @property
    def num_tasks(self) -> int:
        """Tasks that wait, and the one that runs."""
        return self._num_tasks

    def submit(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a function after all those submitted before."""
        with self._lock:
            self._num_tasks += 1
        self._executor.submit(self._run, function, *arguments)

    def stop(self) -> None:
        """End the thread after the tasks that were submitted, without waiting for them."""
        self._executor.shutdown(wait=False)

    def _run(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except Exception:
            # The executor would keep it to itself.
            log.exception("a task of %s failed", threading.current_thread().name)
        finally:
            with self._lock:
                self._num_tasks -= 1
