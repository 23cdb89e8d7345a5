"""What the preset `own` chooses by the shape of the images and by how much compute is asked for.

The rule may change with a later version; a run keeps in its config.yaml what it was begun with.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Literal, NamedTuple

from models.errors import InputError
from models.network_config import Shape
from training.averaging import averaging_factor
from training.data.decoding import MAX_SIDE, MIN_SIDE

OWN = "own"
Compute = Literal["small", "medium", "large"]
# Widths, as a multiple of those of medium.
WIDTH_FACTORS: dict[str, float] = {"small": 0.5, "medium": 1.0, "large": 2.0}
BASES = (4, 5, 6, 7)
SIDES: list[int] = sorted(b * 2**k for b in BASES for k in range(2, 7) if MIN_SIDE <= b * 2**k <= MAX_SIDE)
# The shape that settings are shown for where no data are at hand.
EXAMPLE_SHAPE: Shape = (1, 28, 28)
# What the weight of the digits' encoder was chosen for: it holds against a mean over so many averaged values.
DIGITS_KL_WEIGHT, DIGITS_VALUES = 6e-4, 14 * 14
# A dense input layer of more weights would be most of the generator.
MAX_DENSE_WEIGHTS = 1_000_000
Z_DIM, LABEL_DIM = 64, 32


class _Size(NamedTuple):
    """Settings for images up to a side: channels of the finest level, and the most that a level has."""

    side: int
    generator: int
    discriminator: int
    most: int
    batch: int
    tick_kimg: float
    lr: float
    gamma: float


# Above 64 pixels, gamma grows as the number of pixels does.
SIZES = (
    _Size(32, 24, 16, 128, 64, 10, 1e-3, 1),
    _Size(64, 16, 16, 160, 32, 5, 6e-4, 2),
    _Size(128, 16, 16, 160, 32, 2, 6e-4, 8),
    _Size(256, 8, 8, 160, 16, 2, 6e-4, 32),
)


def is_suited(shape: Shape) -> bool:
    """Tell whether the preset is for images of this shape."""
    _, height, width = shape
    return height == width and height in SIDES


def check_shape(shape: Shape) -> None:
    """Check that the preset is for images of this shape.

    Raises: InputError for --data, with what to do.
    """
    if is_suited(shape):
        return
    _, height, width = shape
    near = SIDES[max(bisect_left(SIDES, min(height, width)) - 1, 0) :][:2]
    raise InputError(
        f"its images are {width}x{height}, and preset {OWN} takes squares of {', '.join(map(str, SIDES))} pixels: "
        f"crop and reduce them with --set data.size={' or '.join(map(str, near))}, or give a --preset and the "
        "networks' base and widths by --set",
        "--data",
    )


def derive_settings(shape: Shape, compute: str) -> dict[str, Any]:
    """Return the settings, as YAML has them, for images of a shape (channels, height, width).

    Raises: InputError for --data.
    """
    check_shape(shape)
    channels, side, _ = shape
    size = next(size for size in SIZES if side <= size.side)
    base = next(base for base in BASES if side % base == 0 and (side // base).bit_count() == 1)
    levels = (side // base).bit_length()
    factor = WIDTH_FACTORS.get(compute, 1.0)
    generator, discriminator = (
        _widths(finest, size.most, levels, factor) for finest in (size.generator, size.discriminator)
    )
    is_affordable = (Z_DIM + LABEL_DIM) * generator[0] * base**2 <= MAX_DENSE_WEIGHTS
    values = channels * (side // averaging_factor(side, side)) ** 2
    return {
        "tick_kimg": size.tick_kimg,
        "batch": size.batch,
        "lr": {"start": size.lr, "end": size.lr / 10},
        "gamma": {"start": size.gamma, "end": size.gamma / 10},
        "z_dim": Z_DIM,
        "encoder": {"weight": 8, "kl_weight": DIGITS_KL_WEIGHT * DIGITS_VALUES / values},
        "generator": {
            "kind": "resnet",
            "base": base,
            "widths": generator,
            "label_dim": LABEL_DIM,
            "input_layer": "dense" if is_affordable else "basis",
        },
        "discriminator": {
            "kind": "resnet",
            "base": base,
            "widths": discriminator,
            "label_dim": LABEL_DIM,
            "minibatch_group": 4,
        },
    }


def _widths(finest: int, most: int, levels: int, factor: float) -> list[int]:
    """Return the channels of each level, the coarsest first; each has twice as many as the next finer, up to `most`."""
    return [round(factor * min(finest * 2**level, most)) for level in reversed(range(levels))]
