"""End an export within seconds of Ctrl-C (SIGINT) or SIGTERM, at whatever moment the signal comes.

The first signal raises `Interrupted` in the main thread, so that drafts are discarded on the way out. Three things can
keep that from ending the process, and each has its remedy:

- Python drops an exception that is raised in a destructor or a weak reference's callback: it is raised again.
- The main thread hangs in a file system or a network, or other code swallows the exception: a thread of its own ends
  the process after GRACE_S. A second signal ends it at once.
- A worker process is just being started: `deferred` holds the signal back for that moment.

A shard counts only with its commit marker, which is written last, so the next run goes on from any of these ends. A
signal that the process was told to ignore when it was started stays ignored: a shell's background job ignores SIGINT.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 10.0
RAISE_AGAIN_AFTER_S = 0.05


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to end.

    Attributes:
        exit_code: as a shell counts it: 130 for SIGINT, 143 for SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


@contextlib.contextmanager
def end_on_signals() -> Iterator[None]:
    """Raise `Interrupted` in the block on SIGINT or SIGTERM, and end the process if that does not end it.

    For a command, which owns its process; does nothing outside the main thread.
    Raises: Interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    guard = _SignalGuard()
    try:
        yield
    finally:
        guard.close()


class _SignalGuard:
    def __init__(self) -> None:
        self._received: int | None = None
        self._is_closed = threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._handlers = {s: signal.getsignal(s) for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN}
        self._unraisable_hook = sys.unraisablehook
        self._watchdog = threading.Thread(target=self._watch, name="interrupt-watchdog", daemon=True)
        self._watchdog.start()
        # Python writes a signal's number to this pipe at once, even while the main thread is in C code.
        self._wakeup_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        sys.unraisablehook = self._on_unraisable
        for number in self._handlers:
            signal.signal(number, self._on_signal)

    def close(self) -> None:
        """Restore everything; but after a signal stay on guard until the process has ended."""
        if self._received is not None:
            return
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_fd)
        sys.unraisablehook = self._unraisable_hook
        self._is_closed.set()
        os.close(self._writer)
        self._watchdog.join()
        os.close(self._reader)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._received is not None:
            _end_now(self._received)
        self._received = number
        raise Interrupted(number)

    def _on_unraisable(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            self._unraisable_hook(unraisable)
            return
        self._received = None
        again = threading.Timer(RAISE_AGAIN_AFTER_S, os.kill, (os.getpid(), unraisable.exc_value.signal_number))
        again.daemon = True
        again.start()

    def _watch(self) -> None:
        while number := os.read(self._reader, 1):
            if number[0] in self._handlers:
                if not self._is_closed.wait(GRACE_S):
                    _end_now(number[0])
                return


def _end_now(signal_number: int) -> None:
    for process in multiprocessing.active_children():
        process.kill()
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"Ended at once; run the same command again to go on\n")
    os._exit(128 + signal_number)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block ends; processes that it starts never see SIGINT.

    Ctrl-C reaches every process of the terminal's group, but the parent decides what becomes of its workers.
    """
    pending: list[int] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
        for number in handlers:
            signal.signal(number, lambda received, _frame: pending.append(received))
    # Processes inherit the mask. Other threads may still take the signal, for which the handlers above are.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in pending[:1]:
            signal.raise_signal(signal.Signals(number))
