"""What a training costs: weights, memory, and images per second."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from training.config import Config
from training.data.dataset import Dataset
from training.gan.learners import Learner
from training.gan.trainer import Trainer

# Measured at 96x96 pixels: the process grew by so many times the bytes of its tensors.
WORKSPACE = 1.4


def count_weights(learners: Mapping[str, Learner]) -> dict[str, int]:
    """Return the number of parameters of each network."""
    return {name: sum(w.numel() for w in learner.network.parameters()) for name, learner in learners.items()}


def outline(config: Config, dataset: Dataset) -> tuple[dict[str, int], int]:
    """Return the networks' parameters by name, and the bytes that a step needs at most, from shapes alone.

    Nothing is computed. The bytes are those of float32 tensors: networks, optimisers, gradients and activations, with a
    share for what convolutions need. On top come the data and PyTorch itself.
    """
    # Two images with every class: only their shape matters.
    images = np.zeros((2, *dataset.shape[1:], dataset.shape[0]), np.uint8)
    labels = None if dataset.labels is None else np.zeros(2, np.int64)
    shapes = dataclasses.replace(dataset, images=images, labels=labels, origins=None)
    # The device meta knows no bfloat16; a pretrained network is not worth reading for this.
    config = config.model_copy(update={"precision": "float32", "projected": None})
    with _PeakMemory() as memory, torch.device("meta"):
        trainer = Trainer(config, shapes, "meta")
        trainer.step()
    return count_weights(trainer.learners.by_name()), round(WORKSPACE * memory.peak)


def describe_weights(weights: Mapping[str, int]) -> str:
    """Return the parameters of networks as words."""
    return ", ".join(f"{name} {count:,}" for name, count in weights.items())


def process_memory() -> int:
    """Return the most bytes that this process has had in memory so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return most if sys.platform == "darwin" else most * 1024


def least_measured_images(config: Config) -> int:
    """Return how many images `measure_steps` shows at least."""
    return config.batch * (1 + config.penalty_every)


def measure_steps(trainer: Trainer, seconds: float) -> float:
    """Take steps for some seconds; return the images per second without the slow first step."""

    def take_steps(count: int) -> None:
        for _ in range(count):
            trainer.step()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)

    take_steps(1)
    first_image = trainer.images_shown
    start_s = time.perf_counter()
    while True:
        # The penalties come in one of these steps.
        take_steps(trainer.config.penalty_every)
        if (elapsed_s := time.perf_counter() - start_s) >= seconds:
            return (trainer.images_shown - first_image) / elapsed_s


class _PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive, at their most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size
