"""What can be measured on images without a model: candidates for directions of the latent space."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.evaluation.classifier import Images
from training.evaluation.skin_tone import rgb_to_lab

Values = NDArray[np.float64]
# Colours are measured on images that are averaged down to this many to 31 cells a side; smaller ones stay as they are.
COLOUR_SIDE = 16
# As shares of height and width: top, left, bottom, right.
Box = tuple[float, float, float, float]
# Of an aligned face (training.dissection.concepts.FACE_BOXES).
_LOWER_FACE: Box = (0.56, 0.25, 0.81, 0.75)
_INSIDE_OF_MOUTH: Box = (0.625, 0.39, 0.75, 0.61)


class Measure(NamedTuple):
    """A number that an image has.

    Attributes:
        name: of the direction along which it grows.
        description: what is seen when it grows.
        definition: how it is measured, and its unit.
        compute: uint8 (n, H, W, C) to float64 (n,).
        check: the same, for checking what was found by `compute`; another one where `compute` was learned.
        kept: what else the classes say where the measure is of one of their labels, int64 (num_classes,): classes with
            the same number differ in that label only. None where an image must keep its class.
    """

    name: str
    description: str
    definition: str
    compute: Callable[[Images], Values]
    check: Callable[[Images], Values]
    kept: NDArray[np.int64] | None = None


def choose_measures(images: Images, has_aligned_faces: bool = False) -> list[Measure]:
    """Return the measures that fit a model's images.

    Args:
        images: uint8 (n, H, W, C).
        has_aligned_faces: whether they are faces aligned to the template of training.dissection.concepts.
    """
    if images.shape[3] == 1 and is_drawing(images):
        return [*_DRAWING_MEASURES]
    has_colours = images.shape[3] == 3
    return [
        *_LIGHT_MEASURES,
        *(_COLOUR_MEASURES if has_colours else ()),
        *(_FACE_MEASURES if has_colours and has_aligned_faces else ()),
    ]


def is_drawing(images: Images) -> bool:
    """Tell whether images are bright strokes on black: more than half of all pixels are nearly black."""
    return float(np.mean(images < 16)) > 0.5


def measure_slant(images: Images) -> Values:
    """Return how far drawings lean to the right, in degrees.

    It is the angle of the shear after which the rows and columns of the ink are uncorrelated.
    """
    ink, y, x = _find_moments(images)
    covariance = np.einsum("nhw,nhw,nhw->n", ink, y, x)
    variance = np.einsum("nhw,nhw,nhw->n", ink, y, y)
    # Rows count downwards: what leans to the right has its upper rows further right.
    result: Values = np.degrees(np.arctan2(-covariance, np.maximum(variance, 1e-9)))
    return result


def measure_thickness(images: Images) -> Values:
    """Return the width of a drawing's strokes in pixels: twice the ink over its total variation.

    A straight stroke of width w and length l has the ink w l, and an outline of 2 l.
    """
    ink = images[..., 0].astype(np.float64)
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    down = np.diff(padded, axis=1)[:, :, :-1]
    right = np.diff(padded, axis=2)[:, :-1, :]
    variation = np.hypot(down, right).sum(axis=(1, 2))
    result: Values = 2 * ink.sum(axis=(1, 2)) / np.maximum(variation, 1e-9)
    return result


def measure_width(images: Images) -> Values:
    """Return how wide drawings are: the standard deviation of the columns of the ink, in pixels."""
    ink, _, x = _find_moments(images)
    result: Values = np.sqrt(np.einsum("nhw,nhw,nhw->n", ink, x, x))
    return result


def measure_brightness(images: Images) -> Values:
    """Return the mean lightness, CIELAB's L*, from 0 to 100."""
    result: Values = _to_lab(images)[..., 0].mean(axis=(1, 2))
    return result


def measure_contrast(images: Images) -> Values:
    """Return the standard deviation of the lightness, CIELAB's L*, within each image."""
    result: Values = _to_lab(images)[..., 0].std(axis=(1, 2))
    return result


def measure_light_side(images: Images) -> Values:
    """Return the mean lightness of the right half less that of the left, in CIELAB's L*."""
    lightness = _to_lab(images)[..., 0]
    half = lightness.shape[2] // 2
    result: Values = lightness[:, :, -half:].mean(axis=(1, 2)) - lightness[:, :, :half].mean(axis=(1, 2))
    return result


def measure_warmth(images: Images) -> Values:
    """Return the mean of CIELAB's b*: from blue, below 0, to yellow, above 0."""
    result: Values = _to_lab(images)[..., 2].mean(axis=(1, 2))
    return result


def measure_smile(images: Images) -> Values:
    """Return how much lighter and less red the inside of the mouth is than the lower face, where teeth show.

    In CIELAB's units, of L* - 1.5 a*: the 80th percentile between the lips less the median around them, of colour
    images of aligned faces.
    """
    height, width = images.shape[1:3]
    places = (find_pixels(box, height, width) for box in (_LOWER_FACE, _INSIDE_OF_MOUTH))
    lower_face, mouth = (images[:, rows, columns] for rows, columns in places)
    result: Values = np.percentile(_find_paleness(mouth), 80, axis=1) - np.median(_find_paleness(lower_face), axis=1)
    return result


def _find_paleness(images: Images) -> Values:
    """Return L* - 1.5 a* of the pixels of colour images: float64 (n, pixels). Teeth have more of it than lips."""
    lab = rgb_to_lab(images.reshape(len(images), -1, 3).astype(np.float64))
    paleness: Values = lab[..., 0] - 1.5 * lab[..., 1]
    return paleness


def find_pixels(box: Box, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of a box in images of this size."""
    top, left, bottom, right = (round(share * side) for share, side in zip(box, (height, width, height, width)))
    return slice(top, bottom), slice(left, right)


def _find_moments(images: Images) -> tuple[Values, Values, Values]:
    """Return the ink as shares that sum to 1, and the rows and columns less their means: float64 (n, H, W) each."""
    ink = images[..., 0].astype(np.float64)
    ink /= np.maximum(ink.sum(axis=(1, 2), keepdims=True), 1e-9)
    rows, columns = np.mgrid[: ink.shape[1], : ink.shape[2]].astype(np.float64)
    y = rows - (ink * rows).sum(axis=(1, 2), keepdims=True)
    x = columns - (ink * columns).sum(axis=(1, 2), keepdims=True)
    return ink, y, x


def _to_lab(images: Images) -> Values:
    """Average images down and convert them: float64 (n, rows, columns, 3), 16 to 31 of each, or all there are."""
    n, height, width, channels = images.shape
    rows, columns = max(height // COLOUR_SIDE, 1), max(width // COLOUR_SIDE, 1)
    cropped = images[:, : height // rows * rows, : width // columns * columns]
    blocks = cropped.reshape(n, height // rows, rows, width // columns, columns, channels).mean(axis=(2, 4))
    return rgb_to_lab(np.broadcast_to(blocks, (*blocks.shape[:3], 3)))


def _make(name: str, description: str, definition: str, compute: Callable[[Images], Values]) -> Measure:
    return Measure(name, description, definition, compute, compute)


_DRAWING_MEASURES = (
    _make("slant", "strokes lean further to the right", "slant of the ink by its moments, in degrees", measure_slant),
    _make("thickness", "strokes are thicker", "twice the ink over its total variation, in pixels", measure_thickness),
    _make("width", "the drawing is wider", "standard deviation of the ink's columns, in pixels", measure_width),
)
_LIGHT_MEASURES = (
    _make("brightness", "the picture is brighter", "mean of CIELAB's L*", measure_brightness),
    _make("contrast", "the contrast is stronger", "standard deviation of CIELAB's L* in a picture", measure_contrast),
    _make(
        "light-side",
        "the right half is brighter, the left one darker",
        "mean of CIELAB's L* of the right half less that of the left",
        measure_light_side,
    ),
)
_COLOUR_MEASURES = (
    _make("warmth", "colours are warmer: more yellow, less blue", "mean of CIELAB's b*", measure_warmth),
)
_FACE_MEASURES = (
    _make(
        "smile",
        "teeth show between the lips",
        "CIELAB's L* - 1.5 a* inside of the mouth (80th percentile) less that of the lower face (median)",
        measure_smile,
    ),
)
