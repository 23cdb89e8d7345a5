"""Dissect a generator (Bau et al., GAN Dissection, ICLR 2019): what each feature map does, and what it agrees with.

What a unit does is measured by an intervention, setting it to 0. What it agrees with is the intersection over union of
a concept's pixels and of where the unit is high. Not here: the concepts (training.dissection.concepts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.runtime.onnx_levels import GeneratorInput, OnnxLevels
from models.sampler import Sampler
from models.units import Level, Unit, Units
from training.dissection.concepts import Masks, find_concepts
from training.progress import ProgressCallback, ignore_progress

SEED = 20_270_103
# The share of all cells that is high: the paper's 0.005, and larger ones for concepts that cover more of an image.
SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
MIN_IOU = 0.05
# By chance, a unit that is high in a share s of the cells agrees with a concept in a share c by s c / (s + c - s c).
MIN_TIMES_CHANCE = 2.0


class Dissection(NamedTuple):
    """What was found, and what a report shows of it.

    Attributes:
        units: for units.json.
        images: uint8 (n, H, W, C), which were measured.
        maps: of each level, float32 (n, units, height, width).
    """

    units: Units
    images: NDArray[np.uint8]
    maps: list[NDArray[np.float32]]


def dissect(
    sampler: Sampler,
    levels: OnnxLevels,
    count: int,
    changed_count: int,
    has_aligned_faces: bool,
    progress: ProgressCallback = ignore_progress,
) -> Dissection:
    """Measure every feature map of a generator.

    Args:
        sampler, levels: of one model.
        count: how many images to compare with concepts; half of them choose what counts as high, half are counted.
        changed_count: in how many of them each unit is set to 0.
        has_aligned_faces: whether the images are faces aligned to the template of `concepts`.
        progress: called after each image.
    """
    addresses = sampler.manifest.addresses(SEED, 0, count)
    z, class_weights = sampler.draw_inputs(addresses)
    images, stacks, effects = [], [], []
    for k in range(count):
        maps = levels.compute_maps(GeneratorInput(z[k, None], class_weights[k, None]))
        image = levels.finish(len(maps) - 1, maps[-1])
        images.append(image)
        stacks.append(maps)
        if k < changed_count:
            effects.append([_measure_effects(levels, level, maps[level], image) for level in range(len(maps))])
        progress("images dissected", k + 1, count)
    all_images = np.stack(images)
    all_maps = [np.concatenate([of_image[level] for of_image in stacks]) for level in range(len(stacks[0]))]
    concepts = find_concepts(all_images, has_aligned_faces)
    measured = tuple(
        _describe_level(level, all_maps[level], [of_image[level] for of_image in effects], concepts.masks)
        for level in range(len(all_maps))
    )
    units = Units(images=count, concepts=tuple(concepts.masks), origin=concepts.origin, levels=measured)
    return Dissection(units, all_images, all_maps)


def _describe_level(
    level: int, maps: NDArray[np.float32], effects: Sequence[Sequence[float]], masks: Mapping[str, Masks]
) -> Level:
    """Describe the units of a level.

    Args: maps, float32 (n, units, height, width); effects of each unit, by image; masks, bool (n, H, W), by concept.
    """
    mean_effects = np.mean(effects, axis=0).tolist()
    found = [_describe_unit(unit, maps[:, unit], effect, masks) for unit, effect in enumerate(mean_effects)]
    found.sort(key=lambda unit: (-unit.effect, unit.unit))
    return Level(level=level, side=maps.shape[2], width=maps.shape[3], units=tuple(found))


def _measure_effects(
    levels: OnnxLevels, level: int, maps: NDArray[np.float32], image: NDArray[np.uint8]
) -> list[float]:
    """Return the mean absolute change of an image when each unit of a level is set to 0.

    Args: maps, float32 (1, units, height, width); image, uint8 (H, W, C).
    """
    changes = []
    for unit in range(maps.shape[1]):
        edited = maps.copy()
        edited[:, unit] = 0
        changes.append(float(np.abs(levels.finish(level, edited).astype(np.int16) - image).mean()))
    return changes


def _describe_unit(unit: int, maps: NDArray[np.float32], effect: float, masks: Mapping[str, Masks]) -> Unit:
    """Name the concept that a unit agrees with best, if it agrees enough.

    Args: maps, float32 (n, height, width), of the unit; masks, bool (n, H, W), of each concept.
    """
    described = Unit(unit=unit, effect=round(float(effect), 3))
    if not masks or maps.max() == maps.min():
        return described
    _, height, width = next(iter(masks.values())).shape
    enlarged = enlarge(maps, (height, width))
    best = None
    for name, mask in masks.items():
        share = choose_share(enlarged[::2], mask[::2])
        agreement = measure_agreement(find_high(enlarged, share)[1::2], mask[1::2])
        if agreement.is_enough and (best is None or agreement.iou > best[1].iou):
            best = (name, agreement, share)
    if best is None:
        return described
    return described.model_copy(update={"concept": best[0], "iou": round(best[1].iou, 3), "share": best[2]})


def enlarge(maps: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Enlarge feature maps, float32 (n, height, width), to images of a shape (height, width), bilinearly."""
    height, width = shape
    pictures = [Image.fromarray(cells).resize((width, height), Image.Resampling.BILINEAR) for cells in maps]
    return np.stack([np.asarray(picture) for picture in pictures])


def find_high(maps: NDArray[np.float32], share: float) -> Masks:
    """Return where a unit is among its highest values: in a share of all cells."""
    high: Masks = maps > np.quantile(maps, 1 - share)
    return high


class Agreement(NamedTuple):
    """How where a unit is high and where a concept is agree.

    Attributes:
        iou: intersection over union.
        chance: the same for a unit that knows nothing of the concept.
    """

    iou: float
    chance: float

    @property
    def is_enough(self) -> bool:
        """Whether the concept may name the unit."""
        return self.iou >= MIN_IOU and self.iou >= MIN_TIMES_CHANCE * self.chance


def measure_agreement(high: Masks, mask: Masks) -> Agreement:
    """Compare where a unit is high with where a concept is, bool (n, H, W) each."""
    union = int((high | mask).sum())
    a, b = float(high.mean()), float(mask.mean())
    iou = int((high & mask).sum()) / union if union else 0.0
    return Agreement(iou, a * b / (a + b - a * b) if union else 0.0)


def choose_share(maps: NDArray[np.float32], mask: Masks, shares: Sequence[float] = SHARES) -> float:
    """Return the share of high cells that says most about a concept.

    It is the one whose information quality ratio, mutual information over joint entropy, is largest (the paper's
    equation for the threshold of a unit and a concept).
    """
    return max(shares, key=lambda share: compute_quality_ratio(find_high(maps, share), mask))


def compute_quality_ratio(high: Masks, mask: Masks) -> float:
    """Return the mutual information of two masks over their joint entropy; 0 where nothing is uncertain."""
    joint = np.array([[np.mean(a & b) for b in (mask, ~mask)] for a in (high, ~high)])
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    some = joint > 0
    entropy = -float((joint[some] * np.log(joint[some])).sum())
    information = float((joint[some] * np.log(joint[some] / independent[some])).sum())
    return information / entropy if entropy > 0 else 0.0
