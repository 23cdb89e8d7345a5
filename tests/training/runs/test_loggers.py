"""Reporting a training run."""

from __future__ import annotations

import pytest

from training.runs.loggers import Terminal


def test_a_log_has_a_line_a_minute_within_a_tick(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("training.runs.loggers.time.monotonic", lambda: now_s[0])
    terminal = Terminal(total_kimg=1.0, tick_kimg=10)

    for second in range(1, 150):
        now_s[0] = float(second)
        terminal.log_step(images_shown=2 * second, tick_images=2 * second, elapsed_s=float(second))

    assert capsys.readouterr().out.splitlines() == [
        "0.1/1 kimg  2 images/s  7m20s left",
        "0.2/1 kimg  2 images/s  6m20s left",
    ]


@pytest.mark.parametrize(("tick_kimg", "shown"), [(10, "0.1/0.1"), (0.05, "0.06/0.1"), (0.125, "0.064/0.1")])
def test_kimg_has_as_many_decimals_as_a_tick(
    tick_kimg: float, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("training.runs.loggers.time.monotonic", lambda: now_s[0])
    terminal = Terminal(total_kimg=0.1, tick_kimg=tick_kimg)
    now_s[0] = 100.0

    terminal.log_step(images_shown=64, tick_images=64, elapsed_s=1.0)

    assert capsys.readouterr().out.startswith(f"{shown} kimg  64 images/s")
