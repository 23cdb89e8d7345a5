"""How a run is seen while it trains.

Knows: the progress line, stats.jsonl and the TensorBoard events. Does not know: the networks.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Tick:
    """Means over one tick.

    Attributes:
        kimg: thousand real images shown so far.
        images_per_second: real images shown per second of wall time.
        loss_G, loss_D: relativistic losses, without penalties.
        r1, r2: squared gradient norms on real and fake images, before gamma.
        acc_real, acc_fake: share of logits on the right side of the midpoint between both means.
        acc_pair: share of pairs in which D ranks the real image higher.
        margin: mean real minus mean fake logit.
    """

    kimg: float
    images_per_second: float
    lr: float
    gamma: float
    loss_G: float
    loss_D: float
    r1: float
    r2: float
    acc_real: float
    acc_fake: float
    acc_pair: float
    margin: float


class Progress:
    """Writes each tick to the terminal or log, to stats.jsonl and to TensorBoard."""

    def __init__(self, out: Path, total_kimg: float, images_shown: int) -> None:
        self._total_kimg = total_kimg
        self._stats = (out / "stats.jsonl").open("a")
        self._events = SummaryWriter(str(out / "tensorboard"), purge_step=images_shown)
        self._terminal = sys.stdout.isatty()
        self._last_live = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stats.close()
        self._events.close()

    def live(self, images_shown: int, done: int, elapsed_s: float) -> None:
        """Rewrite the status line, at most once a second, on a terminal only."""
        now = time.monotonic()
        if self._terminal and now - self._last_live >= 1.0:
            self._last_live = now
            rate = done / elapsed_s
            left = _duration((self._total_kimg * 1000 - images_shown) / rate)
            text = f"{images_shown / 1000:.1f}/{self._total_kimg:g} kimg  {rate:.0f} images/s  {left} left"
            print(f"\r\033[K{text}", end="", flush=True)

    def tick(self, tick: Tick) -> None:
        """Report one tick."""
        values = dataclasses.asdict(tick)
        # JSON has no NaN.
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._stats.write(json.dumps(line) + "\n")
        self._stats.flush()
        os.fsync(self._stats.fileno())
        for name, value in values.items():
            self._events.add_scalar(name, value, global_step=round(tick.kimg * 1000))
        self._events.flush()
        left = _duration((self._total_kimg - tick.kimg) * 1000 / tick.images_per_second)
        print(
            ("\r\033[K" if self._terminal else "")
            + f"{tick.kimg:.1f}/{self._total_kimg:g} kimg  {tick.images_per_second:.0f} images/s  "
            f"loss G {tick.loss_G:.3f} D {tick.loss_D:.3f}  D right on real {tick.acc_real:.0%} "
            f"fake {tick.acc_fake:.0%}  R1 {tick.r1:.3g} R2 {tick.r2:.3g}  {left} left",
            flush=True,
        )


class Steps:
    """Progress of work in named steps: rewritten in place on a terminal, a line at each step's end in a log."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._step, self._started, self._first, self._last_live = "", 0.0, 0, 0.0

    def __call__(self, step: str, done: int, of: int) -> None:
        now = time.monotonic()
        if step != self._step:
            self._step, self._started, self._first = step, now, done
        elapsed = now - self._started
        if done >= of:
            start = "\r\033[K" if self._terminal else ""
            print(f"{start}{step}: done in {_duration(elapsed)}", flush=True)
        elif self._terminal and now - self._last_live >= 1.0 and done > self._first:
            self._last_live = now
            left = _duration(elapsed / (done - self._first) * (of - done))
            print(f"\r\033[K{step}: {done}/{of}  {left} left", end="", flush=True)


def _duration(seconds: float) -> str:
    minutes, s = divmod(max(round(seconds), 0), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h{m:02d}m" if hours else f"{m}m{s:02d}s"
