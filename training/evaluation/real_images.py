"""Chooses which real images the judges learn from, and which stand in for generated ones to give the baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.classifier import Images
from training.evaluation.data_split import DataSplit
from training.evaluation.protocol import Protocol

# Where no other images are free, at most this share of the training images stands in for generated ones.
MAX_STAND_IN_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class RealImages:
    """The roles of the real images; each choice is a pure function of the split and the protocol.

    Attributes:
        judge_rows: int64, the training images that judges learn from, in a fixed random order; generated images get
            their labels in this order.
        compared_rows: int64 (n,), of `split.compared`: the images to which distances are measured.
        stand_ins: uint8 (n, H, W, C), real images in place of generated ones; no judge learns from them.
        gan_train_count: how many images a judge learns from.
    """

    judge_rows: NDArray[np.int64]
    compared_rows: NDArray[np.int64]
    stand_ins: Images
    gan_train_count: int

    @property
    def num_compared(self) -> int:
        """How many images are on each side of a distance."""
        return len(self.compared_rows)

    @classmethod
    def select(cls, split: DataSplit, protocol: Protocol) -> RealImages:
        """Take free validation images as stand-ins, else training images, which the judges then do without."""

        def shuffled(count: int) -> NDArray[np.int64]:
            return np.random.RandomState(protocol.seed % 2**32).permutation(count).astype(np.int64)

        order = shuffled(len(split.train))
        most = min(protocol.compared_images, len(split.compared))
        if split.part == "test" and len(split.validation):
            count = min(most, len(split.validation))
            stand_ins = split.validation.images[shuffled(len(split.validation))[:count]]
        else:
            count = min(most, int(MAX_STAND_IN_SHARE * len(split.train)))
            stand_ins = split.train.images[order[:count]]
            order = order[count:]
        compared_rows = shuffled(len(split.compared))[:count]
        return cls(order, compared_rows, stand_ins, min(protocol.gan_train_images, len(order)))
