"""Reporting a training run."""

from __future__ import annotations

import dataclasses
import re
from unittest.mock import Mock, call

import pytest

from models.errors import TrainingDivergedError
from training.runs.loggers import LoggerGroup, Terminal, Tick


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loggers' clock: set its only entry."""
    now_s = [0.0]
    monkeypatch.setattr("training.runs.loggers.time.monotonic", lambda: now_s[0])
    return now_s


def test_a_log_has_a_line_a_minute_within_a_tick(now_s: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(total_kimg=1.0, tick_kimg=10)

    for second in range(1, 150):
        now_s[0] = float(second)
        terminal.log_step(images_shown=2 * second, tick_images=2 * second, elapsed_s=float(second))

    assert capsys.readouterr().out.splitlines() == [
        # Once, when the rate is known.
        "# about 8m09s to 1 kimg, at 2 images/s",
        "0.1/1 kimg  2 images/s  7m20s left",
        "0.2/1 kimg  2 images/s  6m20s left",
    ]


@pytest.mark.parametrize(("tick_kimg", "shown"), [(10, "0.1/0.1"), (0.05, "0.06/0.1"), (0.125, "0.064/0.1")])
def test_kimg_has_as_many_decimals_as_a_tick(
    tick_kimg: float, shown: str, now_s: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(total_kimg=0.1, tick_kimg=tick_kimg)
    now_s[0] = 100.0

    terminal.log_step(images_shown=64, tick_images=64, elapsed_s=1.0)

    assert capsys.readouterr().out.startswith(f"{shown} kimg  64 images/s")


TICK = Tick(
    kimg=0.1,
    images_per_second=10.0,
    lr=1e-3,
    gamma=1.0,
    augment_p=0.0,
    loss_G=0.7,
    grad_norm_G=1.0,
    recon_loss=0.0,
    kl=0.0,
    loss_D=0.6,
    grad_norm_D=1.0,
    loss_codes=0.0,
    r1=0.5,
    r2=0.25,
    acc_real=0.6,
    acc_fake=0.7,
    acc_pair=0.8,
    margin=0.1,
)


def test_the_rate_of_a_slow_run_is_not_rounded_to_whole_images(
    now_s: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(total_kimg=0.1, tick_kimg=10)

    for now_s[0], images, rate in ((100.0, 40, "0.4"), (200.0, 41, "0.6"), (300.0, 42, "1234")):
        terminal.log_step(images_shown=images, tick_images=int(float(rate) * 1000), elapsed_s=1000.0)

    assert re.findall("(\\S+) images/s  ", capsys.readouterr().out) == ["0.4", "0.6", "1234"]


def test_all_loggers_are_closed_and_one_that_fails_does_not_hide_what_ended_the_training() -> None:
    first, failing, last = Mock(), Mock(), Mock()
    failing.close.side_effect = OSError("no space")
    diverged = TrainingDivergedError("the weights are not finite")

    with pytest.raises(OSError, match="no space"), LoggerGroup([first, failing, last]):
        pass
    with pytest.raises(TrainingDivergedError), LoggerGroup([first, failing, last]):
        raise diverged

    for logger in (first, failing, last):
        assert logger.close.call_args_list == [call(None), call(diverged)]


def test_a_tick_shows_the_accuracy_in_pairs_and_the_penalties(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(total_kimg=1.0, tick_kimg=0.1).log_tick(TICK)

    assert capsys.readouterr().out == (
        "0.1/1 kimg  10 images/s  loss G 0.700 D 0.600  D right on real 60% fake 70% pairs 80%  R1 0.5 R2 0.25  "
        "1m30s left\n"
    )


def test_with_an_encoder_a_tick_shows_the_reconstruction_instead(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(total_kimg=1.0, tick_kimg=0.1).log_tick(dataclasses.replace(TICK, recon_loss=0.0625))

    line = capsys.readouterr().out
    assert "  reconstruction 0.0625 (should fall)  " in line and "R1" not in line
