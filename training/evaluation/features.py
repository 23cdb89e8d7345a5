"""Turns images into the features in which they are compared.

Not here: Inception-v3's features (training.evaluation.inception), and how the classifier is trained.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import MetricError
from models.runtime.torchscript import one_thread
from training import efficientnet
from training.evaluation.classifier import Images
from training.evaluation.metrics import Features
from training.parallel import map_in_threads

# So few that the Gaussians of the Fréchet distance can be fitted to 100 images; a random projection keeps distances.
NUM_FEATURES = 64
BATCH = 100
# Images of which the usual mean and deviation of every statistic are taken.
FITTED_IMAGES = 2000
# A statistic's deviation is at least this share of the usual one of its map, or a nearly constant one would count most.
LEAST_DEVIATION = 0.1
PROJECTION_SEED = 0


class FeatureSpace(Protocol):
    """Computes features of images.

    Attributes:
        name: what the report calls it.
        sha256: of the weights; empty if there are none.
    """

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def features(self, images: Images) -> Features:
        """Return float32 (n, d) for images uint8 (n, H, W, C)."""
        ...


class Standard(NamedTuple):
    """The usual values of every statistic of an image.

    Attributes:
        mean: float32 (d,).
        deviation: float32 (d,), above 0; infinite for what never differs.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


class EfficientNetSpace:
    """Means and deviations of the maps of EfficientNet-Lite0, which sees texture and needs no labels.

    The mean and the deviation over all places of every channel of every map, from strides of 4 pixels (texture) to 32
    (things); standardised by those of real training images, then projected on 64 random directions.

    Args:
        standard: what `fit` found.

    Raises:
        InputError: the weights are not installed.
    """

    name = f"EfficientNet-Lite0 (ImageNet): means and deviations of its maps, in {NUM_FEATURES} projections"
    sha256 = efficientnet.SHA256

    def __init__(self, standard: Standard) -> None:
        self._network = efficientnet.load_efficientnet()
        self._mean = torch.from_numpy(standard.mean)
        size = len(standard.mean)
        directions = np.random.RandomState(PROJECTION_SEED).normal(size=(size, NUM_FEATURES)) / np.sqrt(size)
        self._directions = torch.from_numpy((directions / standard.deviation[:, None]).astype(np.float32))

    def features(self, images: Images) -> Features:
        statistics = _statistics(self._network, images)
        with one_thread():
            projected: Features = ((statistics - self._mean) @ self._directions).numpy()
        return projected


def fit(images: Images) -> Standard:
    """Measure the usual statistics of real training images, uint8 (n, H, W, C).

    Raises:
        InputError: the weights are not installed.
        MetricError: all images are the same.
    """
    statistics = _statistics(efficientnet.load_efficientnet(), images[:FITTED_IMAGES])
    deviation = statistics.std(dim=0, correction=0)
    start = 0
    for channels in efficientnet.CHANNELS * 2:
        part = deviation[start : start + channels]
        part.clamp_min_(float(LEAST_DEVIATION * part.median()))
        start += channels
    if not bool(deviation.any()):
        raise MetricError("the training images are all alike")
    # What never differs, such as the deviation over a map of one place, has no part in the features.
    deviation[deviation == 0] = torch.inf
    return Standard(statistics.mean(dim=0).numpy(), deviation.numpy())


def _statistics(network: efficientnet.EfficientNetLite0, images: Images) -> Tensor:
    """Return float32 (n, d): the mean of every channel of each map, then the deviations."""
    starts = range(0, len(images), BATCH)
    return torch.cat(map_in_threads(lambda s: _batch_statistics(network, images[s : s + BATCH]), starts))


def _batch_statistics(network: efficientnet.EfficientNetLite0, images: Images) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
    x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
    with torch.inference_mode():
        maps = network(x.contiguous(memory_format=torch.channels_last))
        means = [a_map.mean(dim=(2, 3)) for a_map in maps]
        return torch.cat([*means, *(a_map.std(dim=(2, 3), correction=0) for a_map in maps)], dim=1)


def flatten_pixels(images: Images) -> Features:
    """Return every pixel, 0 to 1, as float32 (n, H * W * C): the features of NDB."""
    pixels: Features = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return pixels
