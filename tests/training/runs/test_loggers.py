"""How work that goes on is shown."""

from __future__ import annotations

import pytest

from training.runs.loggers import Steps


def test_a_log_has_a_line_now_and_then_and_one_at_each_steps_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("training.runs.loggers.time.monotonic", lambda: now[0])
    steps = Steps()

    for done in range(0, 101, 10):
        now[0] = float(done)
        steps("images minted", done, 100)
    for done in (0, 1):
        steps("images compared", done, 1)

    assert capsys.readouterr().out.splitlines() == [
        "images minted: 30/100  1m10s left",
        "images minted: 60/100  0m40s left",
        "images minted: 90/100  0m10s left",
        "images minted: done in 1m40s",
        "images compared: done in 0m00s",
    ]
