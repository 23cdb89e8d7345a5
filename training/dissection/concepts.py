"""Concepts: which pixels of an image show a part that has a name, found without a learned model.

Drawings have ink, holes, ends and crossings, by morphology. Aligned faces have regions, by the template that they were
aligned to. Other images have none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.dissection.measures import Box, find_pixels, is_drawing
from training.evaluation.classifier import Images

Masks = NDArray[np.bool_]
# Pixels within this distance of an end or a crossing show it: a stroke of MNIST is 2 to 4 pixels wide.
_POINT_RADIUS = 2

# Boxes of an aligned face, as shares of height and width: top, left, bottom, right. The template has the eyes at
# (0.32, 0.31) and (0.68, 0.31), and the corners of the mouth at (0.34, 0.67) and (0.66, 0.67), as (x, y).
FACE_BOXES: dict[str, tuple[Box, ...]] = {
    "eyes": ((0.25, 0.21, 0.38, 0.43), (0.25, 0.57, 0.38, 0.79)),
    "nose": ((0.38, 0.40, 0.58, 0.60),),
    "mouth": ((0.60, 0.31, 0.75, 0.69),),
    "cheeks": ((0.45, 0.13, 0.65, 0.33), (0.45, 0.67, 0.65, 0.87)),
    "forehead": ((0.06, 0.25, 0.21, 0.75),),
    "chin": ((0.80, 0.35, 0.95, 0.65),),
    "sides": ((0.0, 0.0, 1.0, 0.08), (0.0, 0.92, 1.0, 1.0)),
}


class Concepts(NamedTuple):
    """What images show where.

    Attributes:
        masks: bool (n, H, W) by the concept's name.
        origin: how they were found, in words; or why there are none.
    """

    masks: dict[str, Masks]
    origin: str


def find_concepts(images: Images, has_aligned_faces: bool) -> Concepts:
    """Find the concepts of a model's images.

    Args:
        images: uint8 (n, H, W, C).
        has_aligned_faces: whether they are faces aligned to the template.
    """
    if has_aligned_faces:
        origin = "boxes of the template that the faces were aligned to; a box is the same in every image"
        return Concepts(find_face_regions(images), origin)
    if images.shape[3] == 1 and is_drawing(images):
        return Concepts(find_stroke_parts(images), "morphology of the strokes: filled holes and a skeleton")
    return Concepts({}, "none: these images are neither drawings nor aligned faces, and a segmenter is not at hand")


def find_face_regions(images: Images) -> dict[str, Masks]:
    """Return the boxes of the template as masks."""
    n, height, width = images.shape[:3]
    regions = {}
    for name, boxes in FACE_BOXES.items():
        mask = np.zeros((n, height, width), bool)
        for box in boxes:
            rows, columns = find_pixels(box, height, width)
            mask[:, rows, columns] = True
        regions[name] = mask
    return regions


def find_stroke_parts(images: Images) -> dict[str, Masks]:
    """Return ink, holes, ends of strokes and crossings of drawings, uint8 (n, H, W, 1)."""
    ink: Masks = images[..., 0] >= 128
    skeleton = thin(ink)
    neighbours = np.stack(_list_neighbours(skeleton)).astype(np.int8)
    # How often the ring of eight neighbours goes from off to on: the number of strokes that leave a pixel.
    branches = ((neighbours == 0) & (np.roll(neighbours, -1, axis=0) == 1)).sum(axis=0)
    ends, crossings = skeleton & (branches == 1), skeleton & (branches >= 3)
    return {
        "ink": ink,
        "hole": find_holes(ink),
        "end": _grow(ends, _POINT_RADIUS),
        "crossing": _grow(crossings, _POINT_RADIUS),
    }


def find_holes(ink: Masks) -> Masks:
    """Return the background that ink encloses: that no way of up, down, left and right leads to from the edge."""
    free = np.pad(~ink, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    outside = np.zeros_like(free)
    outside[:, 0] = True
    while True:
        spread = outside.copy()
        spread[:, 1:] |= outside[:, :-1]
        spread[:, :-1] |= outside[:, 1:]
        spread[:, :, 1:] |= outside[:, :, :-1]
        spread[:, :, :-1] |= outside[:, :, 1:]
        spread &= free
        if (spread == outside).all():
            holes: Masks = (free & ~outside)[:, 1:-1, 1:-1]
            return holes
        outside = spread


def thin(ink: Masks) -> Masks:
    """Thin strokes to lines one pixel wide (Zhang and Suen, Communications of the ACM 1984), bool (n, H, W)."""
    lines: Masks = ink.copy()
    while True:
        before = lines.copy()
        for is_second in (False, True):
            # Clockwise from above: p2 .. p9 of the paper.
            p2, p3, p4, p5, p6, p7, p8, p9 = _list_neighbours(lines)
            ring = np.stack([p2, p3, p4, p5, p6, p7, p8, p9])
            count = ring.sum(axis=0)
            steps = (~ring & np.roll(ring, -1, axis=0)).sum(axis=0)
            sides = (p2 & p4 & p8, p2 & p6 & p8) if is_second else (p2 & p4 & p6, p4 & p6 & p8)
            lines = lines & ~((count >= 2) & (count <= 6) & (steps == 1) & ~sides[0] & ~sides[1])
        if (lines == before).all():
            return lines


def _list_neighbours(mask: Masks) -> list[Masks]:
    """Return the eight neighbours of each pixel, clockwise from the one above; beyond the edge there is nothing."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    height, width = mask.shape[1:]
    offsets = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    return [padded[:, y : y + height, x : x + width] for y, x in offsets]


def _grow(mask: Masks, radius: int) -> Masks:
    """Add all pixels in a square around each."""
    padded = np.pad(mask, ((0, 0), (radius, radius), (radius, radius)))
    height, width = mask.shape[1:]
    grown = np.zeros_like(mask)
    for y in range(2 * radius + 1):
        for x in range(2 * radius + 1):
            grown |= padded[:, y : y + height, x : x + width]
    return grown
