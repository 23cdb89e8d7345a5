"""Showing the progress of work in named steps."""

from __future__ import annotations

import pytest

from training.progress import ProgressPrinter, format_three_digits


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


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.4, "0.4"),
        (0.0625, "0.0625"),
        (41.26, "41.3"),
        (99.96, "100"),
        (412.6, "413"),
        (4123.4, "4123"),
        (2e6, "2000000"),
    ],
)
def test_a_rate_has_three_digits_and_never_an_exponent(number: float, text: str) -> None:
    assert format_three_digits(number) == text
