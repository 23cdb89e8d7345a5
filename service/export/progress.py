"""Show how an export gets on: a line that is rewritten on a terminal, or a plain line now and then in a log."""

from __future__ import annotations

import sys
import time

LOG_EVERY_S = 10.0
LIVE_EVERY_S = 0.5


class ExportProgressBar:
    """Count a run's images, bytes and shards, and print them with a rate and the remaining time.

    Args:
        images: of the run in all.
        shards: of the run in all.
        done_images: images of the shards that were committed before.
        done_shards: shards that were committed before.
        is_shown: whether anything is printed.
    """

    def __init__(self, *, images: int, shards: int, done_images: int, done_shards: int, is_shown: bool = True) -> None:
        self.done_shards = done_shards
        self._images = images
        self._shards = shards
        self._done_images = done_images
        self._new_images = 0
        self._new_bytes = 0
        self._is_shown = is_shown
        self._is_terminal = sys.stdout.isatty()
        self._started_at = time.monotonic()
        self._printed_at = self._started_at
        # Images and moment of the first report; the remaining time follows from the rate since then, without start-up.
        self._first_report: tuple[int, float] | None = None

    def add(self, images: int, size_bytes: int) -> None:
        """Count images and bytes that were written."""
        self._new_images += images
        self._new_bytes += size_bytes
        now = time.monotonic()
        if self._first_report is None:
            self._first_report = (self._new_images, now)
        if now - self._printed_at >= (LIVE_EVERY_S if self._is_terminal else LOG_EVERY_S):
            self._printed_at = now
            self._print(str(self), end="" if self._is_terminal else "\n")

    def add_shards(self, shards: int) -> None:
        """Count shards that were committed."""
        self.done_shards += shards

    def end(self) -> None:
        """Print the last line."""
        self._print(f"{self._counts()}  in {format_duration(time.monotonic() - self._started_at)}", end="\n")

    def _print(self, text: str, end: str) -> None:
        if self._is_shown:
            print(f"\r\033[K{text}" if self._is_terminal else text, end=end, flush=True)

    def __str__(self) -> str:
        images, since = self._first_report or (0, self._started_at)
        if self._new_images <= images:
            return f"{self._counts()}  starting"
        remaining_images = self._images - self._done_images - self._new_images
        remaining_s = remaining_images * (time.monotonic() - since) / (self._new_images - images)
        return f"{self._counts()}  {format_duration(remaining_s)} left"

    def _counts(self) -> str:
        elapsed_s = max(time.monotonic() - self._started_at, 1e-9)
        images_per_s = self._new_images / elapsed_s
        return (
            f"{self._done_images + self._new_images}/{self._images} images  {images_per_s:.0f} images/s  "
            f"{format_size(self._new_bytes / elapsed_s)}/s  {self.done_shards}/{self._shards} shards"
        )


def format_count(count: int, noun: str) -> str:
    """Return such as 1 shard, 2 shards."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """Return such as 1h05m, 2m07s."""
    minutes, s = divmod(max(round(seconds), 0), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h{m:02d}m" if hours else f"{m}m{s:02d}s"


def format_size(size: float) -> str:
    """Return such as 12 kB, 3.4 MB; in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
