"""Feature spaces: what images are turned into before they are compared.

Knows: the three that there are, and their names. Does not know: metrics, how the classifier is trained.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from training.evaluation.classifier import Classifier, Images
from training.evaluation.metrics import Features

# Pixels are compared at this side at most: a distance between more numbers than images says little.
PIXEL_SIDE = 16


class FeatureSpace(Protocol):
    """Images to features.

    Attributes: name, as the report prints it; sha256, of the weights, empty where there are none.
    """

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def features(self, images: Images) -> Features:
        """uint8 (n, H, W, C) to float32 (n, d)."""
        ...


class ClassifierSpace:
    """The last hidden layer of the classifier that was trained on the real training images."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.sha256 = classifier.sha256
        self.name = "last hidden layer of the real-data classifier"

    def features(self, images: Images) -> Features:
        return self._classifier.answers(images).features


class PixelSpace:
    """Pixels 0 .. 1, averaged down to at most 16x16: for images without labels to learn from."""

    name = f"pixels, averaged to at most {PIXEL_SIDE}x{PIXEL_SIDE}"
    sha256 = ""

    def features(self, images: Images) -> Features:
        side = min(PIXEL_SIDE, *images.shape[1:3])
        parts = [
            F.adaptive_avg_pool2d(
                torch.from_numpy(images[start : start + 1000]).permute(0, 3, 1, 2).float() / 255, side
            )
            for start in range(0, len(images), 1000)
        ]
        return torch.cat(parts).flatten(1).numpy()


def pixels(images: Images) -> Features:
    """Every pixel, 0 .. 1, float32 (n, H * W * C): the space of nearest neighbours and of bins."""
    flat: Features = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return flat
