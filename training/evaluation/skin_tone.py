"""Skin tones of aligned faces, so that a skewed generator is seen.

Knows: where an aligned face is skin, the individual typology angle and its classes. Does not know:
how faces were aligned, what share of each tone is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.classifier import Images

Angles = NDArray[np.float64]

# Nose and cheeks of a face whose eyes lie at a third of its height: shares of height and width.
ROWS, COLUMNS = (0.45, 0.65), (0.3, 0.7)
# Lower bounds in degrees, from light to dark (Del Bino and Bernerd, British Journal of Dermatology 2013).
CLASSES = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0, "dark": -np.inf}
# sRGB's primaries to CIE XYZ, divided by the white point D65 (IEC 61966-2-1).
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def angles(images: Images) -> Angles:
    """Individual typology angle of each face in degrees, -90 .. 90, higher is lighter.

    arctan((L* - 50) / b*) of the medians over the patch (Chardon et al., International Journal of
    Cosmetic Science 1991). Light and camera move it, in real photographs as in generated ones.

    Args: images, uint8 (n, H, W, 3).
    Returns: float64 (n,).
    """
    height, width = images.shape[1:3]
    rows, columns = (
        slice(*(round(share * side) for share in span)) for span, side in ((ROWS, height), (COLUMNS, width))
    )
    colours = lab(images[:, rows, columns].reshape(len(images), -1, 3))
    lightness, _, yellow = np.median(colours, axis=1).T
    # Bluish skin is a camera's; the angle stays on the side of the lightness.
    found: Angles = np.degrees(np.arctan2(lightness - 50.0, np.maximum(yellow, 1e-6)))
    return found


def lab(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """sRGB 0 .. 255 (..., 3) to CIELAB (..., 3): L* 0 .. 100, a*, b* (CIE 15, section 8.2.1)."""
    encoded = colours / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    x, y, z = np.moveaxis(np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def distance(one: Angles, other: Angles) -> float:
    """Mean move, in degrees, that turns one distribution into the other (Wasserstein-1), of equally many."""
    return float(np.abs(np.sort(one) - np.sort(other)).mean())


def shares(found: Angles) -> dict[str, float]:
    """Share of the faces in each class, from light to dark."""
    bounds: NDArray[Any] = np.array(list(CLASSES.values()))
    index = (found[:, None] > bounds[None, :]).argmax(axis=1)
    return dict(zip(CLASSES, (np.bincount(index, minlength=len(CLASSES)) / len(found)).tolist()))
