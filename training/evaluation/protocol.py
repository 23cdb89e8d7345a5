"""Defines what is measured, on how many images, and with which settings.

Two scores are comparable if their protocol and their data are the same. A change of any number here needs a new name.
"""

from __future__ import annotations

import hashlib

from pydantic import AliasChoices, ConfigDict, Field

from models.base import Frozen
from training.evaluation.classifier import Recipe


class Protocol(Frozen):
    """The settings of an evaluation."""

    # The digest is taken of the JSON, whose keys must not change.
    model_config = ConfigDict(serialize_by_alias=True)

    name: str = "ganmint-eval/2"
    seed: int = Field(default=20_260_101, description="of the generated images and of every random choice")
    gan_train_images: int = Field(
        default=60_000, description="images that each classifier learns from; at most the number of training images"
    )
    compared_images: int = Field(
        default=10_000, description="images on each side of a distance; at most the number of test images"
    )
    holdout: float = Field(
        default=0.1,
        validation_alias=AliasChoices("holdout", "held_out"),
        serialization_alias="held_out",
        description="share held out for testing if the data has no test images of its own",
    )
    classifier: Recipe = Recipe()
    classifier_seeds: int = Field(
        default=3, ge=1, description="classifiers over which GAN-train and GAN-test are means"
    )
    threads: int = Field(
        default=1,
        description="of torch in each part of the work; the last bits depend on it, but not on the parts at once",
    )
    min_images: int = Field(default=100, description="images a side, below which distances say nothing")
    warn_below_images: int = Field(default=300, description="images a side, below which the report warns of chance")
    kid_subsets: int = 100
    kid_size: int = Field(default=1000, description="of a subset; at most half of the images")
    precision_k: int = 3
    coverage_k: int = 5
    score_splits: int = 10
    bins: int = 100
    neighbours: int = Field(default=50, description="nearest training images that a near-copy is compared with")
    copy_share: float = Field(
        default=0.3, description="a near-copy is at most this share of the neighbours' mean distance away"
    )
    toy_points: int = 20_000

    @property
    def digest(self) -> str:
        """The sha256 of all settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


STANDARD = Protocol()
