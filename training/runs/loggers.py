"""Report a training run tick by tick: to the terminal or log, stats.jsonl and TensorBoard."""

from __future__ import annotations

import contextlib
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

from training.progress import CLEAR_LINE, TERMINAL_INTERVAL_S, format_duration, format_three_digits
from training.runs.run_dir import STATS_FILE, TENSORBOARD_FOLDER

# Seconds between two lines of a log within one tick.
LOG_INTERVAL_S = 60.0
# Seconds of training, without the slow first step, after which the rate is known well enough to say how long it takes.
ESTIMATE_AFTER_S = 10.0


@dataclass(frozen=True)
class Tick:
    """Means over one tick.

    Attributes:
        kimg: thousand real images shown so far.
        images_per_second: real images shown per second of wall time.
        augment_p: probability of each augmentation of D's inputs.
        loss_G, loss_D: relativistic losses, without penalties.
        grad_norm_G, grad_norm_D: Euclidean norms of the gradients that the optimisers were given.
        recon_loss: mean squared distance, in averaged pixels, of real images to their reconstructions; 0
            without an encoder.
        kl: KL divergence of the encoder's posterior from the prior, in nats; 0 without an encoder.
        loss_codes: InfoGAN loss; 0 without InfoGAN codes.
        r1, r2: squared gradient norms on real and fake images, before gamma; lazy ones count as
            0 in steps without, and k times as much in those with.
        acc_real, acc_fake: share of logits on the right side of the midpoint between both means.
        acc_pair: share of pairs in which D ranks the real image higher.
        margin: mean real minus mean fake logit.
        loss_G_projected, loss_D_projected, acc_pair_projected: the same of the discriminator that sees a pretrained
            network's features; 0 without it.
        penalty_projected: its R1 + R2, before gamma.
    """

    kimg: float
    images_per_second: float
    lr: float
    gamma: float
    augment_p: float
    loss_G: float
    grad_norm_G: float
    recon_loss: float
    kl: float
    loss_D: float
    grad_norm_D: float
    loss_codes: float
    r1: float
    r2: float
    acc_real: float
    acc_fake: float
    acc_pair: float
    margin: float
    loss_G_projected: float = 0.0
    loss_D_projected: float = 0.0
    acc_pair_projected: float = 0.0
    penalty_projected: float = 0.0


class Logger:
    """Receives the reports of a run; this base class ignores them."""

    def log_step(self, images_shown: int, tick_images: int, elapsed_s: float) -> None:
        """Report a step between two ticks.

        Args:
            images_shown: real images shown so far in the run.
            tick_images: how many of them in this tick.
            elapsed_s: duration of this tick so far.
        """

    def log_tick(self, tick: Tick) -> None:
        """Report one tick."""

    def close(self, error: BaseException | None = None) -> None:
        """Finish; no more reports follow.

        Args: error, what ended the training before its end.
        """


class LoggerGroup(Logger):
    """Passes every report on to several loggers; as a context, closes them."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = loggers

    def __enter__(self) -> LoggerGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.close(error)
        except Exception:
            # What ended the training says more.
            if error is None:
                raise

    def log_step(self, images_shown: int, tick_images: int, elapsed_s: float) -> None:
        for logger in self._loggers:
            logger.log_step(images_shown, tick_images, elapsed_s)

    def log_tick(self, tick: Tick) -> None:
        for logger in self._loggers:
            logger.log_tick(tick)

    def close(self, error: BaseException | None = None) -> None:
        """Close every logger, also after one that fails; then raise what it raised."""
        with contextlib.ExitStack() as stack:
            for logger in self._loggers:
                stack.callback(logger.close, error)


class StatsFile(Logger):
    """Appends a line of JSON per tick, which is on disk before the next step."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def log_tick(self, tick: Tick) -> None:
        # JSON has no NaN.
        line = {name: value if math.isfinite(value) else None for name, value in dataclasses.asdict(tick).items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, error: BaseException | None = None) -> None:
        self._file.close()


class TensorBoard(Logger):
    """Writes TensorBoard events."""

    def __init__(self, folder: Path, images_shown: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=images_shown)

    def log_tick(self, tick: Tick) -> None:
        for name, value in dataclasses.asdict(tick).items():
            self._writer.add_scalar(name, value, global_step=round(tick.kimg * 1000))
        self._writer.flush()

    def close(self, error: BaseException | None = None) -> None:
        self._writer.close()


class Terminal(Logger):
    """Prints a line per tick; in between, a status line on a terminal and a line a minute in a log."""

    def __init__(self, total_kimg: float, tick_kimg: float) -> None:
        self._total_kimg = total_kimg
        # As many as tell two ticks from each other.
        self._decimals = max(1, len(f"{tick_kimg:.6f}".rstrip("0").partition(".")[2]))
        self._is_terminal = sys.stdout.isatty()
        self._last_print_s = time.monotonic()
        self._is_estimated = False
        # Images shown and seconds at the end of the first step.
        self._first_step: tuple[int, float] | None = None

    def log_step(self, images_shown: int, tick_images: int, elapsed_s: float) -> None:
        now_s = time.monotonic()
        self._estimate_once(images_shown, now_s)
        if now_s - self._last_print_s < (TERMINAL_INTERVAL_S if self._is_terminal else LOG_INTERVAL_S):
            return
        self._last_print_s = now_s
        text = self._describe_progress(images_shown / 1000, tick_images / elapsed_s)
        if self._is_terminal:
            print(f"{CLEAR_LINE}{text}", end="", flush=True)
        else:
            print(text, flush=True)

    def _estimate_once(self, images_shown: int, now_s: float) -> None:
        """Say once, as soon as the rate is known, how long the rest of the run takes."""
        if self._is_estimated:
            return
        first_images, first_s = self._first_step = self._first_step or (images_shown, now_s)
        if now_s - first_s < ESTIMATE_AFTER_S:
            return
        self._is_estimated = True
        rate = (images_shown - first_images) / (now_s - first_s)
        left = format_duration((self._total_kimg * 1000 - images_shown) / rate)
        start = CLEAR_LINE if self._is_terminal else ""
        print(
            f"{start}# about {left} to {self._total_kimg:g} kimg, at {format_three_digits(rate)} images/s", flush=True
        )

    def log_tick(self, tick: Tick) -> None:
        self._last_print_s = time.monotonic()
        losses = f"loss G {tick.loss_G:.3f} D {tick.loss_D:.3f}"
        accuracies = f"D right on real {tick.acc_real:.0%} fake {tick.acc_fake:.0%} pairs {tick.acc_pair:.0%}"
        # The reconstruction falls as training goes well; the penalties tell a newcomer little.
        detail = f"R1 {tick.r1:.3g} R2 {tick.r2:.3g}"
        if tick.recon_loss:
            detail = f"reconstruction {tick.recon_loss:.3g} (should fall)"
        text = self._describe_progress(tick.kimg, tick.images_per_second, losses, accuracies, detail)
        print(f"{CLEAR_LINE if self._is_terminal else ''}{text}", flush=True)

    def _describe_progress(self, kimg: float, images_per_second: float, *details: str) -> str:
        left = format_duration((self._total_kimg - kimg) * 1000 / images_per_second)
        parts = [
            f"{kimg:.{self._decimals}f}/{self._total_kimg:g} kimg",
            f"{format_three_digits(images_per_second)} images/s",
            *details,
            f"{left} left",
        ]
        return "  ".join(parts)


def create_loggers(out: Path, total_kimg: float, tick_kimg: float, images_shown: int) -> list[Logger]:
    """Create the loggers that every run has, from `images_shown` on."""
    return [
        StatsFile(out / STATS_FILE),
        TensorBoard(out / TENSORBOARD_FOLDER, images_shown),
        Terminal(total_kimg, tick_kimg),
    ]
