"""Whether the images that are kept from training are enough to measure a generator by, and how to keep more."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.data.split import count_parts
from training.data_config import DataConfig
from training.evaluation.protocol import STANDARD
from training.evaluation.real_images import MAX_STAND_IN_SHARE

# What is suggested.
_SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)


def describe_too_few(groups: NDArray[np.int64], shares: DataConfig, num_test: int) -> str:
    """Say that a part is too small to measure recall and the Fréchet distance by, and what helps; "" if none is.

    Args:
        groups: of the images to train on and to keep, int64 (n,), as `count_parts` takes them.
        shares: of these that are kept.
        num_test: the number of test images beside them; 0 if a share of them is the test.
    """
    needed = STANDARD.min_images
    needed_train = math.ceil(needed / MAX_STAND_IN_SHARE)

    def count(holdout: float, validation: float) -> tuple[int, int]:
        """Return how many images there are to train on, and in the smaller one of the other parts."""
        train, chosen_by, held_out = count_parts(groups, holdout, validation, shares.stratify_holdout)
        return train, min(chosen_by, num_test or held_out)

    def are_enough(train: int, kept: int) -> bool:
        return train >= needed_train and kept >= needed

    now = count(shares.holdout, shares.validation)
    if are_enough(*now):
        return ""
    reason = f"recall and the Fréchet distance, which a gate asks for, need at least {needed} images of each"
    if 0 < num_test < needed:
        return f"{reason}: add {needed - num_test} test images, or publish with --accept"
    share = next((s for s in _SHARES if are_enough(*count(shares.holdout if num_test else s, s))), None)
    if share is None or now[0] < needed_train:
        stand_ins = f"at most {MAX_STAND_IN_SHARE:.0%} of these stand in for generated ones"
        reason += f", and {needed_train} to train on, as {stand_ins}"
    if share is None:
        fewest = _count_fewest(needed, shares.holdout if num_test else None)
        where = f"until there are about {fewest}" if len(groups) < fewest else "to each class"
        return f"{reason}: add images {where}, or publish with --accept"
    names = ["validation"] if num_test else ["holdout", "validation"]
    return f"{reason}: {' '.join(f'--set data.{name}={share:g}' for name in names)}"


def _count_fewest(needed: int, holdout: float | None) -> int:
    """Return of about how many images one of the shares keeps enough.

    Args:
        needed: images of each part, and of those to train on that stand in for generated ones.
        holdout: share that is kept for the test; None if it is as large as that of validation.
    """

    def smallest_part(share: float) -> float:
        return (1 - (share if holdout is None else holdout)) * min(share, MAX_STAND_IN_SHARE * (1 - share))

    # A tenth more, as classes are divided one by one.
    return math.ceil(1.1 * needed / max(map(smallest_part, _SHARES)))
