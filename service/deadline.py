"""One clock for a whole request: its body, labels, minting and encoding."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, TypeVar

from service.errors import BodyTimeoutError, DeadlineError

T = TypeVar("T")
P = ParamSpec("P")


class Deadline:
    """When a request must be answered. It runs from its creation; a `with` block that is late is ended by an error.

    Args:
        timeout_s: from the start of the request.

    Attributes:
        timeout_s: as given.
        is_reading_body: while set, being late is the caller's fault (408), else the service's (504).
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.is_reading_body = False
        self._ends_at = time.monotonic() + timeout_s
        self._is_late = False

    @property
    def remaining_s(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._ends_at - time.monotonic())

    def check(self) -> None:
        """Do nothing while there is time: for threads, which nothing ends from outside, between their steps.

        Raises:
            DeadlineError.
        """
        if not self.remaining_s:
            raise DeadlineError(self.timeout_s)

    def call(self, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Call a function unless it is too late: for threads, which begin when one is free.

        Raises:
            DeadlineError.
        """
        self.check()
        return function(*arguments, **options)

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        # As asyncio.timeout does, which Python 3.10 lacks and which takes twice as long; anyio's takes four times.
        self._timer = asyncio.get_running_loop().call_later(self.remaining_s, self._cancel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if not (self._is_late and isinstance(error, asyncio.CancelledError)):
            return
        if sys.version_info >= (3, 11):
            self._task.uncancel()
        late: type[BodyTimeoutError | DeadlineError] = BodyTimeoutError if self.is_reading_body else DeadlineError
        raise late(self.timeout_s) from None

    def _cancel(self) -> None:
        self._is_late = True
        self._task.cancel()
