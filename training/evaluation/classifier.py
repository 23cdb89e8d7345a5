"""The small classifier that judges generators.

Knows: one network, one training recipe, and that the same images, labels, recipe and number of
threads give the same weights. It is trained on generated images (GAN-train, arXiv 1807.09499) and on
real ones (GAN-test; and its last hidden layer is the feature space of the distances). Does not know:
generators, data sets on disk, what is made of its answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from models.base import Frozen

# uint8 (n, H, W, C). Dataset.images is typed wider, for toy data.
Images = NDArray[Any]
# Stages halve the side until it is at most this.
SMALLEST_SIDE = 8
FORWARD_BATCH = 500

Progress = Callable[[int, int], None]


class Recipe(Frozen):
    """Everything that decides a classifier, apart from its training images."""

    width: int = Field(
        default=32, ge=1, description="channels of the first stage; doubled after the second, and each next one"
    )
    features: int = Field(default=64, ge=1, description="size of the last hidden layer")
    epochs: int = Field(default=3, ge=1)
    least_shown: int = Field(default=60_000, ge=0, description="more epochs for smaller data, until so many were shown")
    batch: int = Field(default=128, ge=2)
    peak_lr: float = Field(default=1e-2, gt=0, description="of AdamW, one cycle up and down (arXiv 1708.07120)")
    weight_decay: float = Field(default=1e-2, ge=0)
    seed: int = Field(default=0, ge=0)


class Answers(NamedTuple):
    """What the classifier says of n images.

    Attributes:
        features: float32 (n, Recipe.features), not negative.
        probabilities: float32 (n, classes), rows sum to 1.
    """

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The likeliest class of each image, int64 (n,)."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return likeliest


class _Network(nn.Module):
    """Convolutions with batch normalisation; the first strides, all but the last are max-pooled."""

    def __init__(self, shape: tuple[int, int, int], classes: int, recipe: Recipe) -> None:
        super().__init__()
        channels, height, width = shape
        c_out = recipe.width
        layers = _stage(channels, c_out, 5, 2)
        channels, height, width = c_out, -(-height // 2), -(-width // 2)
        while max(height, width) > SMALLEST_SIDE:
            layers += [*_stage(channels, c_out), nn.MaxPool2d(2, ceil_mode=True)]
            channels, height, width, c_out = c_out, -(-height // 2), -(-width // 2), 2 * c_out
        layers += [*_stage(channels, c_out), nn.Flatten()]
        hidden = nn.Linear(c_out * height * width, recipe.features, bias=False)
        self.body = nn.Sequential(*layers, hidden, nn.BatchNorm1d(recipe.features), nn.ReLU())
        self.head = nn.Linear(recipe.features, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features)


def _network(shape: tuple[int, int, int], classes: int, recipe: Recipe) -> _Network:
    """A freshly initialised network; torch's own random numbers stay where they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = _Network(shape, classes, recipe)
    # As the pixels lie, and faster on a CPU.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _stage(c_in: int, c_out: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.ReLU()]


class Classifier:
    """A trained classifier of images of one shape."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval()

    @classmethod
    def restored(
        cls, state: Mapping[str, NDArray[Any]], shape: tuple[int, int, int], classes: int, recipe: Recipe
    ) -> Classifier:
        """What `state` came from. Raises: RuntimeError when it does not fit."""
        network = _network(shape, classes, recipe)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        return cls(network)

    def state(self) -> dict[str, NDArray[Any]]:
        """Every weight by its name."""
        return {name: tensor.numpy() for name, tensor in self._network.state_dict().items()}

    @property
    def sha256(self) -> str:
        """Of the weights: names and float32 bytes, in the order of names."""
        digest = hashlib.sha256()
        for name, array in sorted(self.state().items()):
            digest.update(name.encode() + array.tobytes())
        return digest.hexdigest()

    def answers(self, images: Images) -> Answers:
        """Args: images, uint8 (n, H, W, C)."""
        with torch.inference_mode():
            parts = [
                self._network(_floats(images[start : start + FORWARD_BATCH]))
                for start in range(0, len(images), FORWARD_BATCH)
            ]
        features = torch.cat([f for f, _ in parts]).numpy()
        return Answers(features, torch.cat([logits for _, logits in parts]).softmax(dim=1).numpy())


def train(
    images: Images,
    labels: NDArray[np.int64],
    classes: int,
    recipe: Recipe,
    mirror: bool = False,
    progress: Progress | None = None,
) -> Classifier:
    """Train the recipe.

    Args:
        images: uint8 (n, H, W, C), at least two.
        labels: int64 (n,) in 0 .. classes - 1.
        mirror: flip each image shown with probability 1/2.
        progress: called after each step with steps done and steps in all.
    """
    channels, (height, width) = images.shape[3], images.shape[1:3]
    network = _network((channels, height, width), classes, recipe)
    batch = min(recipe.batch, len(images))
    # Whole batches only: normalisation cannot take the mean of one image.
    steps = len(images) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay)
    epochs = max(recipe.epochs, -(-recipe.least_shown // len(images)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.peak_lr, total_steps=steps * epochs)
    targets = torch.from_numpy(labels)
    network.train()
    for epoch in range(epochs):
        random = np.random.RandomState((recipe.seed, epoch))
        order = random.permutation(len(images))
        flipped = random.randint(0, 2, len(images)).astype(bool) & mirror
        for step in range(steps):
            picked = np.sort(order[step * batch : (step + 1) * batch])
            shown = images[picked]
            shown[flipped[picked]] = shown[flipped[picked], :, ::-1]
            _, logits = network(_floats(shown))
            loss = F.cross_entropy(logits, targets[torch.from_numpy(picked)])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if progress:
                progress(epoch * steps + step + 1, epochs * steps)
    return Classifier(network)


def _floats(images: Images) -> Tensor:
    """float32 (n, C, H, W), pixels scaled to -1 .. 1."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)
