"""Turns images into the features in which they are compared.

Not here: Inception-v3's features (training.evaluation.inception), and how the classifier is trained.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from training.evaluation.classifier import Classifier, Images
from training.evaluation.metrics import Features

# Distances between more numbers than there are images say little, so pixels are averaged to this side at most.
PIXEL_SIDE = 16
BATCH = 1000


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


class ClassifierSpace:
    """The last hidden layer of the classifier that was trained on real images."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.sha256 = classifier.sha256
        self.name = "last hidden layer of the real-data classifier"

    def features(self, images: Images) -> Features:
        return self._classifier.predict(images).features


class PixelSpace:
    """Pixels from 0 to 1, averaged to at most 16x16; for images without labels to train a classifier on."""

    name = f"pixels, averaged to at most {PIXEL_SIDE}x{PIXEL_SIDE}"
    sha256 = ""

    def features(self, images: Images) -> Features:
        side = min(PIXEL_SIDE, *images.shape[1:3])
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        pooled = [
            F.adaptive_avg_pool2d(torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255, side) for batch in batches
        ]
        return torch.cat(pooled).flatten(1).numpy()


def flatten_pixels(images: Images) -> Features:
    """Return every pixel, 0 to 1, as float32 (n, H * W * C): the features of nearest neighbours and of NDB."""
    pixels: Features = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return pixels
