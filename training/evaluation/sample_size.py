"""Whether the images that are kept from training are enough to measure a generator by, and how to keep more."""

from __future__ import annotations

from training.evaluation.protocol import STANDARD

# What is suggested.
_SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
# Classes are divided one by one, so that a part may have a few images less than its share.
_MARGIN = 1.1


def describe_too_few(images: int, validation: int, test: int, has_test_images: bool) -> str:
    """Say that a part is too small to measure recall and the Fréchet distance by, and what helps; "" if none is.

    Args:
        images: how many there are to train on and to keep.
        validation: how many of them are kept to choose by.
        test: how many images there are to test with.
        has_test_images: whether these are images of their own, not a share of the others.
    """
    needed = STANDARD.min_images
    if min(validation, test) >= needed:
        return ""
    reason = f"recall and the Fréchet distance, which a gate asks for, need at least {needed} images of each"
    share = _find_share(images, needed, has_test_images)
    if share is None or (has_test_images and test < needed):
        return f"{reason}: add images, or publish with --accept"
    settings = (
        [f"data.validation={share:g}"] if has_test_images else [f"data.holdout={share:g}", f"data.validation={share:g}"]
    )
    return f"{reason}: {' '.join(f'--set {setting}' for setting in settings)}"


def _find_share(images: int, needed: int, has_test_images: bool) -> float | None:
    """Return the smallest share that keeps enough images for validation, and as large a one for the test before it."""
    for share in _SHARES:
        rest = images if has_test_images else images * (1 - share)
        if share * rest >= _MARGIN * needed:
            return share
    return None
