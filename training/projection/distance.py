"""How far images are from a picture, as a differentiable function of the images.

Not here: the features in which whole sets of images are compared (training.evaluation.features).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.efficientnet import is_installed, load_efficientnet

# Smaller images are enlarged by a whole factor for EfficientNet, whose maps have a 4th to a 32nd of their side.
LEAST_SIDE = 64
FEATURES_NAME = "features of EfficientNet-Lite0"
PIXELS_NAME = "pixels at several scales"
# Images whose distances are measured at a time.
BATCH = 32

Features = Callable[[Tensor], list[Tensor]]


class PictureDistance:
    """The distance of images from one picture: squared differences of maps, averaged over places and over maps.

    Args:
        picture: uint8 (H, W, C).
        features: float (N, C, H, W), -1 to 1, to maps, float (N, channels, height, width) each.
        device: where it is computed; that of the features.
    """

    def __init__(self, picture: NDArray[np.uint8], features: Features, device: str = "cpu") -> None:
        self._features = features
        self._device = device
        with torch.no_grad():
            self._wanted = features(self._to_tensor(picture[None]))

    def __call__(self, images: Tensor) -> Tensor:
        """Return float (N,), 0 or above, for images, float (N, C, H, W), -1 to 1; gradients flow back to them."""
        maps = self._features(images)
        distances = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(maps, self._wanted)]
        return torch.stack(distances).mean(dim=0)

    def measure(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 (N,) for uint8 (N, H, W, C)."""
        with torch.inference_mode():
            starts = range(0, len(pixels), BATCH)
            distances = [self(self._to_tensor(pixels[start : start + BATCH])) for start in starts]
            measured: NDArray[np.float32] = torch.cat(distances).cpu().numpy()
        return measured

    def _to_tensor(self, pixels: NDArray[np.uint8]) -> Tensor:
        images = torch.tensor(pixels).to(self._device)
        return images.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def choose_features(device: str = "cpu") -> tuple[str, Features]:
    """Return what images are compared by, and its name: EfficientNet's features, or pixels where it is not installed.

    Raises: FileError where its weights are damaged.
    """
    return (FEATURES_NAME, load_unit_maps(device)) if is_installed() else (PIXELS_NAME, average_pixels)


def load_unit_maps(device: str = "cpu") -> Features:
    """Return the function from images to EfficientNet's maps, each place scaled to length 1.

    LPIPS without its learned weights (Zhang et al., arXiv 1801.03924, equation 1).
    Raises: InputError where the weights are not installed; FileError where they are damaged.
    """
    network = load_efficientnet().to(device)

    def compute(images: Tensor) -> list[Tensor]:
        scale = max(-(-LEAST_SIDE // min(images.shape[2:])), 1)
        if scale > 1:
            images = F.interpolate(images, scale_factor=float(scale), mode="bilinear", align_corners=False)
        return [F.normalize(a_map, dim=1) for a_map in network(images.expand(-1, 3, -1, -1))]

    return compute


def average_pixels(images: Tensor) -> list[Tensor]:
    """Return images, and their averages over blocks of 2, 4, ... pixels a side, scaled to the mean over channels."""
    scaled = images / images.shape[1] ** 0.5
    maps = [scaled]
    while min(maps[-1].shape[2:]) >= 4:
        maps.append(F.avg_pool2d(maps[-1], 2))
    return maps
