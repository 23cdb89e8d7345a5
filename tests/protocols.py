"""An evaluation that measures everything on as few images as tests train with."""

from __future__ import annotations

from training.evaluation.classifier import Recipe
from training.evaluation.protocol import Protocol

SMALL = Protocol(
    name="small",
    holdout=0.25,
    classifier=Recipe(width=4, features=4, epochs=1, min_images_shown=0, batch=32),
    min_images=20,
    kid_size=20,
    kid_subsets=2,
    bins=2,
    neighbours=5,
)
