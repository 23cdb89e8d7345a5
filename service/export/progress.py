"""How an export is seen while it runs.

Knows: the progress line: rewritten on a terminal, a plain line now and then in a log. Does not know:
what is exported.
"""

from __future__ import annotations

import sys
import time

LOG_EVERY_S = 10.0
LIVE_EVERY_S = 0.5


class Progress:
    """Counts images, bytes and shards of a run.

    Args: images, shards: in all; done_images, done_shards: committed before this run.
    """

    def __init__(self, images: int, shards: int, done_images: int, done_shards: int) -> None:
        self._images, self._shards = images, shards
        self._done_images, self.done_shards = done_images, done_shards
        self._made, self._bytes = 0, 0
        self._terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._last = self._started
        # Images and moment of the first report: what is left is told by the rate since then, without start-up.
        self._first: tuple[int, float] | None = None

    def add(self, images: int, size: int) -> None:
        """Images and bytes were written."""
        self._made += images
        self._bytes += size
        now = time.monotonic()
        self._first = self._first or (self._made, now)
        if now - self._last >= (LIVE_EVERY_S if self._terminal else LOG_EVERY_S):
            self._last = now
            print(f"\r\033[K{self}" if self._terminal else str(self), end="" if self._terminal else "\n", flush=True)

    def shard(self, shards: int = 1) -> None:
        """Shards were committed."""
        self.done_shards += shards

    def end(self) -> None:
        """The last line."""
        text = f"{self._counts()}  in {duration(time.monotonic() - self._started)}"
        print(f"\r\033[K{text}" if self._terminal else text, flush=True)

    def __str__(self) -> str:
        made, since = self._first or (0, self._started)
        if self._made <= made:
            return f"{self._counts()}  starting"
        left = (self._images - self._done_images - self._made) * (time.monotonic() - since) / (self._made - made)
        return f"{self._counts()}  {duration(left)} left"

    def _counts(self) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-9)
        return (
            f"{self._done_images + self._made}/{self._images} images  {self._made / elapsed:.0f} images/s  "
            f"{size_text(self._bytes / elapsed)}/s  {self.done_shards}/{self._shards} shards"
        )


def counted(count: int, noun: str) -> str:
    """1 shard, 2 shards."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """1h05m, 2m07s."""
    minutes, s = divmod(max(round(seconds), 0), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h{m:02d}m" if hours else f"{m}m{s:02d}s"


def size_text(size: float) -> str:
    """12 kB, 3.4 MB; powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
