"""Measures the skin tones of aligned faces, so that a biased generator is noticed.

Not here: how faces are aligned. No share of a tone is taken as the right one; the real faces are the reference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.evaluation.classifier import Images

Angles = NDArray[np.float64]

# Nose and cheeks of a face whose eyes lie at a third of its height: shares of height and width.
ROWS = (0.45, 0.65)
COLUMNS = (0.3, 0.7)
# Lower bounds in degrees, from light to dark (Del Bino and Bernerd, British Journal of Dermatology 2013).
CLASSES = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0, "dark": -np.inf}
# From sRGB's primaries to CIE XYZ, and the white point D65 (IEC 61966-2-1).
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def typology_angles(images: Images) -> Angles:
    """Return the individual typology angle of each face, in degrees.

    The angle is arctan((L* - 50) / b*) of the medians over nose and cheeks (Chardon et al., International Journal of
    Cosmetic Science 1991). Lighting and camera change it, in real photographs as in generated ones.

    Args:
        images: uint8 (n, H, W, 3).

    Returns:
        float64 (n,), from -90 to 90; higher is lighter.
    """
    height, width = images.shape[1:3]
    patches = images[:, _span(ROWS, height), _span(COLUMNS, width)]
    colours = rgb_to_lab(patches.reshape(len(images), -1, 3))
    lightness, _, yellow = np.median(colours, axis=1).T
    # Bluish skin comes from the camera; the floor keeps the sign that the lightness gives.
    angles: Angles = np.degrees(np.arctan2(lightness - 50.0, np.maximum(yellow, 1e-6)))
    return angles


def rgb_to_lab(colours: NDArray[np.uint8] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB to CIELAB (CIE 15, section 8.2.1).

    Args:
        colours: uint8, or float64 from 0 to 255, (..., 3).

    Returns:
        float64 (..., 3): L* from 0 to 100, a*, b*.
    """
    encoded = colours / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    x, y, z = np.moveaxis(np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def wasserstein_distance(one: Angles, other: Angles) -> float:
    """Return the Wasserstein-1 distance of two equally large samples, in degrees."""
    return float(np.abs(np.sort(one) - np.sort(other)).mean())


def class_shares(angles: Angles) -> dict[str, float]:
    """Return the share of the faces in each class of CLASSES, from light to dark."""
    bounds = np.array(list(CLASSES.values()))
    index = (angles[:, None] > bounds[None, :]).argmax(axis=1)
    shares = np.bincount(index, minlength=len(CLASSES)) / len(angles)
    return dict(zip(CLASSES, shares.tolist(), strict=True))


def _span(shares: tuple[float, float], side: int) -> slice:
    start, end = shares
    return slice(round(start * side), round(end * side))
