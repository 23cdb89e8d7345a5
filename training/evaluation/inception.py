"""Inception-v3's features, through torch-fidelity, for figures that compare with the literature's.

Knows: that the weights are the user's own file, and how torch-fidelity is loaded. Nothing is ever
downloaded. Does not know: metrics.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from models.errors import FileError, InputError
from models.files import sha256
from training.evaluation.classifier import Images
from training.evaluation.metrics import Features

NAME = "inception-v3-compat"
LAYER = "2048"
BATCH = 32
ADVICE = (
    "give the file that torch-fidelity names in its feature_extractor_inceptionv3.py, fetched where there is a network"
)
# What torchvision 0.28 declares in its compiled part and expects to find.
OPERATORS = ("nms", "qnms")


class InceptionSpace:
    """The 2048 features before the last layer of the Inception-v3 of the FID's authors (arXiv 1706.08500).

    Args: weights, a PyTorch state dict as torch-fidelity distributes it; about 5 images/s on two CPU cores.
    Raises: FileError when it is no such file; InputError when torch-fidelity is missing.
    """

    name = "Inception-v3, 2048 features"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        _check(weights)
        self.sha256 = sha256(weights)
        try:
            extractor = torch_fidelity().FeatureExtractorInceptionV3(
                NAME, [LAYER], feature_extractor_weights_path=str(weights)
            )
        except (RuntimeError, AttributeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise FileError(weights, f"holds no weights of Inception-v3 ({reason}); {ADVICE}") from None
        self._extractor = extractor.to(device)
        self._device = device

    def features(self, images: Images) -> Features:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH].transpose(0, 3, 1, 2)))
                rgb = batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch
                parts.append(self._extractor(rgb.to(self._device))[0].cpu())
        features: Features = torch.cat(parts).numpy()
        return features


def _check(weights: Path) -> None:
    """Whether the file is a state dict; torch-fidelity would run a pickle's code."""
    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileError(weights, f"does not exist; {ADVICE}") from None
    except OSError as error:
        raise FileError(weights, f"cannot be read: {error.strerror or error}") from None
    # Torch reports damage and refused pickles as any of these.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(weights, f"is no file of weights ({reason}); {ADVICE}") from None


def torch_fidelity() -> Any:
    """The package torch-fidelity.

    Raises: InputError when it is not installed.
    """
    try:
        return importlib.import_module("torch_fidelity")
    except ModuleNotFoundError as error:
        raise InputError(
            f"needs {error.name}; install it with: pip install 'ganmint[fidelity]'", "--inception"
        ) from None
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        return _without_operators()


def _without_operators() -> ModuleType:
    """Import it where torchvision's compiled part does not load.

    The wheel on the package index is built for CUDA. Beside torch for the CPU its operators are missing, and
    the import stops at the first one; nothing here uses them, so declaring them is enough.
    """
    for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "torch_fidelity")]:
        del sys.modules[name]
    # Kept alive by the module: the declaration ends with the object.
    global _library
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in OPERATORS:
        _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return importlib.import_module("torch_fidelity")


_library: torch.library.Library | None = None
