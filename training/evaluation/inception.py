"""Computes Inception-v3's features with torch-fidelity, for metrics that compare with those of papers.

The user provides the weights; nothing is downloaded.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from models.errors import FileError, InputError, first_line
from models.files import sha256
from training.evaluation.classifier import Images
from training.evaluation.metrics import Features

NAME = "inception-v3-compat"
LAYER = "2048"
BATCH = 32
ADVICE = "download the file that torch-fidelity names in its feature_extractor_inceptionv3.py, and give its path"
# Operators that torchvision 0.28 declares in its compiled part and needs on import.
OPERATORS = ("nms", "qnms")


class InceptionSpace:
    """The 2048 features before the last layer of the Inception-v3 of FID's authors (arXiv 1706.08500).

    It takes about 0.2 s an image on two CPU cores.

    Args:
        weights: a PyTorch state dict as torch-fidelity distributes it.
        device: where the network runs.

    Raises:
        FileError: the file is missing or holds no such weights.
        InputError: torch-fidelity is not installed.
    """

    name = "Inception-v3, 2048 features"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        _check_state_dict(weights)
        self.sha256 = sha256(weights)
        try:
            extractor = import_torch_fidelity().FeatureExtractorInceptionV3(
                NAME, [LAYER], feature_extractor_weights_path=str(weights)
            )
        except (RuntimeError, AttributeError, TypeError) as error:
            reason = first_line(error)
            raise FileError(weights, f"does not hold the weights of Inception-v3 ({reason}); {ADVICE}") from None
        self._extractor = extractor.to(device)
        self._device = device

    def features(self, images: Images) -> Features:
        batches = []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH].transpose(0, 3, 1, 2)))
                rgb = batch.expand(-1, 3, -1, -1) if batch.shape[1] == 1 else batch
                batches.append(self._extractor(rgb.to(self._device))[0].cpu())
        features: Features = torch.cat(batches).numpy()
        return features


def _check_state_dict(weights: Path) -> None:
    """Refuse a file that is no state dict, because torch-fidelity would run the code of a pickle."""
    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileError(weights, f"does not exist; {ADVICE}") from None
    except OSError as error:
        raise FileError(weights, f"cannot be read: {error.strerror or error}") from None
    # Torch raises various errors for damaged files and for unsafe pickles.
    except Exception as error:
        reason = first_line(error)
        raise FileError(weights, f"is not a file of weights ({reason}); {ADVICE}") from None


def import_torch_fidelity() -> Any:
    """Import the package torch-fidelity.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("torch_fidelity")
    except ModuleNotFoundError as error:
        raise InputError(
            f"needs {error.name}; install it with: pip install '.[fidelity]' (in the checkout)", "--inception"
        ) from None
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        return _import_without_operators()


def _import_without_operators() -> ModuleType:
    """Import torch-fidelity if the compiled part of torchvision does not load.

    The wheel on the package index is built for CUDA. With torch for the CPU its operators are missing and the import
    fails. Nothing here uses them, so it is enough to declare them.
    """
    for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "torch_fidelity")]:
        del sys.modules[name]
    # The declaration ends when the object is deleted, so the module keeps it.
    global _library
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in OPERATORS:
        _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return importlib.import_module("torch_fidelity")


_library: torch.library.Library | None = None
