"""What is measured, on how many images and by which recipe.

Knows: the numbers that make two scores comparable. Two scores compare if their protocol and their
data are the same; a change of any number here is a new name. Does not know: how anything is measured.
"""

from __future__ import annotations

import hashlib

from pydantic import Field

from models.base import Frozen
from training.evaluation.classifier import Recipe


class Protocol(Frozen):
    """One way of measuring."""

    name: str = "ganmint-eval/1"
    seed: int = Field(default=20_260_101, description="of the generated images, and of every random choice")
    gan_train_images: int = Field(default=60_000, description="generated, and real beside them; at most the real ones")
    compared_images: int = Field(default=10_000, description="generated, and real on either side; at most the test set")
    held_out: float = Field(default=0.1, description="share kept for testing where the data names no test images")
    classifier: Recipe = Recipe()
    threads: int = Field(default=1, description="of torch: the last bits depend on it, and two that share a core crawl")
    kid_subsets: int = 100
    kid_size: int = 1000
    precision_k: int = 3
    coverage_k: int = 5
    score_splits: int = 10
    bins: int = 100
    neighbours: int = Field(default=50, description="nearest training images that a near-copy is told by")
    copy_share: float = Field(default=0.5, description="a near-copy is at most this share of their mean distance away")
    toy_points: int = 20_000

    @property
    def digest(self) -> str:
        """sha256 over every number."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


STANDARD = Protocol()
