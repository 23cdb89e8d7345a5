"""Latents in the browser are those of models.latents, bit for bit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from models.latents import MAX_INTEGER, draw_label, draw_latent
from tests.service.play.node import run_node

CORNERS = (0, 1, 2**32 - 1, 2**32, 2**52, MAX_INTEGER)
CLASSES = [1, 2, 3, 6, 10, 1000]


def _cases() -> list[dict[str, Any]]:
    chance = random.Random(0)
    places = [(seed, index, 65) for seed in CORNERS for index in CORNERS]
    places += [(chance.randrange(2**53), chance.randrange(2**53), z_dim) for z_dim in range(1, 513, 7)]
    places += [(MAX_INTEGER, 7, 512), (7, MAX_INTEGER, 1)]
    return [{"seed": seed, "index": index, "z_dim": z_dim, "classes": CLASSES} for seed, index, z_dim in places]


def test_every_bit_and_every_drawn_label_is_that_of_numpy() -> None:
    cases = _cases()
    for case, drawn in zip(cases, run_node("latents_of.mjs", cases), strict=True):
        place = case["seed"], case["index"], case["z_dim"]
        assert drawn["bits"] == draw_latent(*place).view(np.uint32).tolist(), place
        assert drawn["labels"] == [draw_label(*place, classes) for classes in CLASSES], place
