"""What the preset `own` chooses by the shape of the images and by how much compute is asked for.

The rule may change with a later version; a run keeps in its config.yaml what it was begun with.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any, Literal, NamedTuple

from models.errors import InputError
from models.network_config import Shape
from training.averaging import averaging_factor
from training.data.decoding import MAX_SIDE, MIN_SIDE, Size

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
    """Settings for images of at most a square's pixels: channels of the finest level, and the most of any level."""

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
    return _find_factor(shape) > 0


def _find_factor(shape: Shape) -> int:
    """Return by what power of two the networks enlarge their lowest resolution; 0 if the preset does not suit."""
    _, *sides = shape
    shorter, longer = sorted(sides)
    base = next((base for base in BASES if shorter % base == 0 and (shorter // base).bit_count() == 1), shorter)
    factor = shorter // base
    return factor if shorter in SIDES and longer <= MAX_SIDE and longer % factor == 0 else 0


def check_shape(shape: Shape) -> None:
    """Check that the preset is for images of this shape.

    Raises: InputError for --data, with what to do.
    """
    if is_suited(shape):
        return
    _, height, width = shape
    raise InputError(
        f"its images are {width}x{height}, and preset {OWN} takes sides of {', '.join(map(str, SIDES))} pixels, and "
        "a longer side that can be halved as often as the shorter one: "
        f"crop and reduce them with --set data.size={' or '.join(map(str, _find_near(height, width)))}, or give a "
        "--preset and the networks' base and widths by --set",
        "--data",
    )


def _find_near(height: int, width: int) -> list[Size]:
    """Return sizes that the preset takes, near to one that it does not: of nearly the same aspect, then a square."""
    shorter = max(bisect_left(SIDES, min(height, width)) - 1, 0)
    squares = [Size(side, side) for side in SIDES[shorter:][:2]]
    factor = _find_factor((1, squares[0].height, squares[0].width))
    scale = SIDES[shorter] / min(height, width)
    near_width, near_height = (min(factor * round(side * scale / factor), MAX_SIDE) for side in (width, height))
    near = Size(near_width, near_height)
    return squares if near == squares[0] else [near, squares[0]]


def derive_settings(shape: Shape, compute: str) -> dict[str, Any]:
    """Return the settings, as YAML has them, for images of a shape (channels, height, width).

    Raises: InputError for --data.
    """
    check_shape(shape)
    channels, height, width = shape
    size = next(size for size in SIZES if height * width <= size.side**2)
    enlargement = _find_factor(shape)
    base = [height // enlargement, width // enlargement]
    levels = enlargement.bit_length()
    factor = WIDTH_FACTORS.get(compute, 1.0)
    generator, discriminator = (
        _widths(finest, size.most, levels, factor) for finest in (size.generator, size.discriminator)
    )
    is_affordable = (Z_DIM + LABEL_DIM) * generator[0] * math.prod(base) <= MAX_DENSE_WEIGHTS
    averaged = averaging_factor(height, width)
    values = channels * (height // averaged) * (width // averaged)
    return {
        # The model's card repeats it, so it is of these images rather than of the preset.
        "description": f"{width}x{height} {'grey' if channels == 1 else 'RGB'} images, by networks of their size.",
        "tick_kimg": size.tick_kimg,
        "batch": size.batch,
        "lr": {"start": size.lr, "end": size.lr / 10},
        "gamma": {"start": size.gamma, "end": size.gamma / 10},
        "z_dim": Z_DIM,
        "encoder": {"weight": 8, "kl_weight": DIGITS_KL_WEIGHT * DIGITS_VALUES / values},
        "generator": {
            "kind": "resnet",
            "base": base if height != width else base[0],
            "widths": generator,
            "label_dim": LABEL_DIM,
            "input_layer": "dense" if is_affordable else "basis",
        },
        "discriminator": {
            "kind": "resnet",
            "base": base if height != width else base[0],
            "widths": discriminator,
            "label_dim": LABEL_DIM,
            "minibatch_group": 4,
        },
    }


def _widths(finest: int, most: int, levels: int, factor: float) -> list[int]:
    """Return the channels of each level, the coarsest first; each has twice as many as the next finer, up to `most`."""
    return [round(factor * min(finest * 2**level, most)) for level in reversed(range(levels))]
