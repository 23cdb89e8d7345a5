"""Show the progress of long work in named steps."""

from __future__ import annotations

import sys
import time
from typing import Protocol

# Seconds between two updates on a terminal, and in a log.
TERMINAL_INTERVAL_S = 1.0
LOG_INTERVAL_S = 30.0
# Return to the start of a terminal's line and erase it.
CLEAR_LINE = "\r\033[K"


class ProgressCallback(Protocol):
    """Receives the progress of work: the step under way, and how many of its parts are done."""

    def __call__(self, step: str, done: int, total: int) -> None: ...


def ignore_progress(step: str, done: int, total: int) -> None:
    """Show nothing."""


class ProgressPrinter:
    """Prints progress: a line rewritten in place on a terminal, a line every 30 s in a log."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._step = ""
        self._step_start_s = 0.0
        self._done_at_start = 0
        self._last_print_s = time.monotonic()

    def __call__(self, step: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        if step != self._step:
            self._step = step
            self._step_start_s = now_s
            self._done_at_start = done
        elapsed_s = now_s - self._step_start_s
        done_since_start = done - self._done_at_start
        if done >= total:
            self._print(f"{step}: done in {format_duration(elapsed_s)}", now_s, ends_line=True)
        elif done_since_start and now_s - self._last_print_s >= self._interval_s:
            left_s = elapsed_s / done_since_start * (total - done)
            text = f"{step}: {done}/{total}  {format_duration(left_s)} left"
            self._print(text, now_s, ends_line=not self._is_terminal)

    @property
    def _interval_s(self) -> float:
        return TERMINAL_INTERVAL_S if self._is_terminal else LOG_INTERVAL_S

    def _print(self, text: str, now_s: float, ends_line: bool) -> None:
        self._last_print_s = now_s
        start = CLEAR_LINE if self._is_terminal else ""
        print(f"{start}{text}", end="\n" if ends_line else "", flush=True)


def format_duration(seconds: float) -> str:
    """Format seconds as 1m05s or 2h03m."""
    minutes, s = divmod(max(round(seconds), 0), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h{m:02d}m" if hours else f"{m}m{s:02d}s"


def format_three_digits(number: float) -> str:
    """Format a number, such as a rate, with three digits, or more before the point: 0.412, 41.2, 4123."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
