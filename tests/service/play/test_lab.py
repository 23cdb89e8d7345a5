"""The GAN that trains in the page."""

from __future__ import annotations

import pytest

from tests.service.play.node import run_node


def test_its_gradients_are_right_and_it_learns() -> None:
    result = run_node("derivative_of.mjs", {"steps": 700, "rate": 0.003, "gamma": 1, "objective": "relativistic"})

    assert result["worst"] < 1e-8 < 1e-2 < result["largest"]
    assert result["mean"] == pytest.approx(4, abs=0.35)
    assert result["sd"] == pytest.approx(1.25, abs=0.35)
