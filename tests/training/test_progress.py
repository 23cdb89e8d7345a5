"""Showing the progress of work in named steps."""

from __future__ import annotations

import pytest

from training.progress import ProgressPrinter


def test_a_log_has_a_line_per_interval_and_one_per_finished_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("training.progress.time.monotonic", lambda: now_s[0])
    progress = ProgressPrinter()

    for done in range(0, 101, 10):
        now_s[0] = float(done)
        progress("images minted", done, 100)
    for done in (0, 1):
        progress("images compared", done, 1)

    assert capsys.readouterr().out.splitlines() == [
        "images minted: 30/100  1m10s left",
        "images minted: 60/100  0m40s left",
        "images minted: 90/100  0m10s left",
        "images minted: done in 1m40s",
        "images compared: done in 0m00s",
    ]
