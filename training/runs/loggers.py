"""How a run is seen while it trains.

Knows: what a tick reports, and the places it is reported to: the terminal or log, stats.jsonl,
TensorBoard events. Does not know: the networks.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

# Seconds between two looks at work that goes on: on a terminal, and in a log.
LIVE_S, LOGGED_S = 1.0, 30.0


@dataclass(frozen=True)
class Tick:
    """Means over one tick.

    Attributes:
        kimg: thousand real images shown so far.
        images_per_second: real images shown per second of wall time.
        augment_p: probability of each transformation that D sees images through.
        loss_G, loss_D: relativistic losses, without penalties.
        grad_norm_G, grad_norm_D: Euclidean norms of the gradients that the optimisers were given.
        reconstruction: mean squared distance, in averaged pixels, of real images to those made of what the
            encoder read; 0 without.
        divergence: of what it read from the prior, in nats; 0 without.
        loss_codes: of reading the codes back from generated images; 0 where there are none.
        r1, r2: squared gradient norms on real and fake images, before gamma; lazy ones count as
            0 in steps without, and k times as much in those with.
        acc_real, acc_fake: share of logits on the right side of the midpoint between both means.
        acc_pair: share of pairs in which D ranks the real image higher.
        margin: mean real minus mean fake logit.
    """

    kimg: float
    images_per_second: float
    lr: float
    gamma: float
    augment_p: float
    loss_G: float
    grad_norm_G: float
    reconstruction: float
    divergence: float
    loss_D: float
    grad_norm_D: float
    loss_codes: float
    r1: float
    r2: float
    acc_real: float
    acc_fake: float
    acc_pair: float
    margin: float


class Logger:
    """A place that ticks are reported to; this one is nowhere."""

    def live(self, images_shown: int, done: int, elapsed_s: float) -> None:
        """Between two ticks: the last `done` of the images shown took `elapsed_s`."""

    def tick(self, tick: Tick) -> None:
        """Report one tick."""

    def close(self) -> None:
        """Nothing more will come."""


class Progress:
    """Reports to every sink; as a context, closes them."""

    def __init__(self, sinks: Sequence[Logger]) -> None:
        self._sinks = sinks

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        for sink in self._sinks:
            sink.close()

    def live(self, images_shown: int, done: int, elapsed_s: float) -> None:
        for sink in self._sinks:
            sink.live(images_shown, done, elapsed_s)

    def tick(self, tick: Tick) -> None:
        for sink in self._sinks:
            sink.tick(tick)


class StatsFile(Logger):
    """A line of JSON a tick, on the disk before the next step."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def tick(self, tick: Tick) -> None:
        # JSON has no NaN.
        line = {name: value if math.isfinite(value) else None for name, value in dataclasses.asdict(tick).items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Events(Logger):
    """TensorBoard's."""

    def __init__(self, folder: Path, images_shown: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=images_shown)

    def tick(self, tick: Tick) -> None:
        for name, value in dataclasses.asdict(tick).items():
            self._writer.add_scalar(name, value, global_step=round(tick.kimg * 1000))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Terminal(Logger):
    """A line a tick; where it is a terminal, also a status line in between."""

    def __init__(self, total_kimg: float) -> None:
        self._total_kimg = total_kimg
        self._is_terminal = sys.stdout.isatty()
        self._last_live = 0.0

    def live(self, images_shown: int, done: int, elapsed_s: float) -> None:
        """Rewrite the status line, at most once a second."""
        now = time.monotonic()
        if self._is_terminal and now - self._last_live >= LIVE_S:
            self._last_live = now
            rate = done / elapsed_s
            left = _duration((self._total_kimg * 1000 - images_shown) / rate)
            text = f"{images_shown / 1000:.1f}/{self._total_kimg:g} kimg  {rate:.0f} images/s  {left} left"
            print(f"\r\033[K{text}", end="", flush=True)

    def tick(self, tick: Tick) -> None:
        left = _duration((self._total_kimg - tick.kimg) * 1000 / tick.images_per_second)
        print(
            ("\r\033[K" if self._is_terminal else "")
            + f"{tick.kimg:.1f}/{self._total_kimg:g} kimg  {tick.images_per_second:.0f} images/s  "
            f"loss G {tick.loss_G:.3f} D {tick.loss_D:.3f}  D right on real {tick.acc_real:.0%} "
            f"fake {tick.acc_fake:.0%}  R1 {tick.r1:.3g} R2 {tick.r2:.3g}  {left} left",
            flush=True,
        )


def sinks(out: Path, total_kimg: float, images_shown: int) -> list[Logger]:
    """Where every run reports to, from `images_shown` on."""
    return [StatsFile(out / "stats.jsonl"), Events(out / "tensorboard", images_shown), Terminal(total_kimg)]


class Steps:
    """Progress of work in named steps: rewritten in place on a terminal, a line now and then in a log."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._step, self._started, self._first, self._last_live = "", 0.0, 0, time.monotonic()

    def __call__(self, step: str, done: int, of: int) -> None:
        now = time.monotonic()
        if step != self._step:
            self._step, self._started, self._first = step, now, done
        elapsed = now - self._started
        if done >= of:
            start = "\r\033[K" if self._terminal else ""
            print(f"{start}{step}: done in {_duration(elapsed)}", flush=True)
            self._last_live = now
        elif now - self._last_live >= (LIVE_S if self._terminal else LOGGED_S) and done > self._first:
            self._last_live = now
            left = _duration(elapsed / (done - self._first) * (of - done))
            start, end = ("\r\033[K", "") if self._terminal else ("", "\n")
            print(f"{start}{step}: {done}/{of}  {left} left", end=end, flush=True)


def _duration(seconds: float) -> str:
    minutes, s = divmod(max(round(seconds), 0), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h{m:02d}m" if hours else f"{m}m{s:02d}s"
