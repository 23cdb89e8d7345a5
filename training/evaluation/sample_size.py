"""Whether the images that are kept from training are enough to measure a generator by, and how to keep more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.split import count_parts
from training.data_config import DataConfig
from training.evaluation.protocol import STANDARD

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

    def are_enough(holdout: float, validation: float) -> bool:
        _, chosen_by, held_out = count_parts(groups, holdout, validation, shares.stratify_holdout)
        return min(chosen_by, num_test or held_out) >= needed

    if are_enough(shares.holdout, shares.validation):
        return ""
    reason = f"recall and the Fréchet distance, which a gate asks for, need at least {needed} images of each"
    share = next((share for share in _SHARES if are_enough(shares.holdout if num_test else share, share)), None)
    if share is None:
        return f"{reason}: add images, or publish with --accept"
    names = ["validation"] if num_test else ["holdout", "validation"]
    return f"{reason}: {' '.join(f'--set data.{name}={share:g}' for name in names)}"
