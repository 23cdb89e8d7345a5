"""Trains the small classifier by which generators are evaluated.

It is trained on generated images (GAN-train, arXiv 1807.09499) and on real ones (GAN-test; its last hidden layer is
also the feature space of the distances). The same images, labels, recipe and number of threads give the same weights.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import AliasChoices, ConfigDict, Field
from torch import Tensor, nn

from models.base import Frozen
from models.networks import hash_weights
from training.parallel import map_in_threads
from training.progress import ProgressCallback, ignore_progress

# uint8 (n, H, W, C). Dataset.images has a wider type because of the toy data.
Images = NDArray[Any]
# Stages halve the side until it is at most this.
SMALLEST_SIDE = 8
FORWARD_BATCH = 500
# Torch's global random state is borrowed by one thread at a time.
_RANDOM_STATE = threading.Lock()


class Recipe(Frozen):
    """The settings that, with the training images, determine a classifier."""

    # The protocol's digest is taken of the JSON, whose keys must not change.
    model_config = ConfigDict(serialize_by_alias=True)

    width: int = Field(
        default=32, ge=1, description="channels of the first two stages; each later stage has twice as many"
    )
    features: int = Field(default=64, ge=1, description="size of the last hidden layer")
    epochs: int = Field(default=3, ge=1)
    min_images_shown: int = Field(
        default=60_000,
        ge=0,
        validation_alias=AliasChoices("min_images_shown", "least_shown"),
        serialization_alias="least_shown",
        description="more epochs for small data, until this many images have been shown",
    )
    batch: int = Field(default=128, ge=2)
    peak_lr: float = Field(default=1e-2, gt=0, description="of AdamW, in one cycle up and down (arXiv 1708.07120)")
    weight_decay: float = Field(default=1e-2, ge=0)
    seed: int = Field(default=0, ge=0)


class Predictions(NamedTuple):
    """The classifier's output for n images.

    Attributes:
        features: float32 (n, Recipe.features), not negative.
        probabilities: float32 (n, num_classes); rows sum to 1.
    """

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 (n,)."""
        labels: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return labels


class _Network(nn.Module):
    """Convolutions with batch normalisation; the first has stride 2, the others but the last are max-pooled."""

    def __init__(self, shape: tuple[int, int, int], num_classes: int, recipe: Recipe) -> None:
        super().__init__()
        c_in, height, width = shape
        c_out = recipe.width
        layers = _stage(c_in, c_out, size=5, stride=2)
        c_in = c_out
        height = -(-height // 2)
        width = -(-width // 2)
        while max(height, width) > SMALLEST_SIDE:
            layers += [*_stage(c_in, c_out), nn.MaxPool2d(2, ceil_mode=True)]
            c_in = c_out
            c_out = 2 * c_out
            height = -(-height // 2)
            width = -(-width // 2)
        layers += [*_stage(c_in, c_out), nn.Flatten()]
        hidden = nn.Linear(c_out * height * width, recipe.features, bias=False)
        self.body = nn.Sequential(*layers, hidden, nn.BatchNorm1d(recipe.features), nn.ReLU())
        self.head = nn.Linear(recipe.features, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x)
        return features, self.head(features)


def _create_network(shape: tuple[int, int, int], num_classes: int, recipe: Recipe) -> _Network:
    """Initialise a network; torch's global random state stays as it is."""
    with _RANDOM_STATE, torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = _Network(shape, num_classes, recipe)
    # The memory layout of the pixels, and faster on a CPU.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _stage(c_in: int, c_out: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False)
    return [conv, nn.BatchNorm2d(c_out), nn.ReLU()]


class Classifier:
    """A trained classifier of images of one shape."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval()

    @classmethod
    def from_state(
        cls, state: Mapping[str, NDArray[Any]], shape: tuple[int, int, int], num_classes: int, recipe: Recipe
    ) -> Classifier:
        """Restore a classifier from its `state()`.

        Raises:
            RuntimeError: the state does not fit the shape, the number of classes or the recipe.
        """
        network = _create_network(shape, num_classes, recipe)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        return cls(network)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return every weight by its name."""
        return {name: tensor.numpy() for name, tensor in self._network.state_dict().items()}

    @property
    def sha256(self) -> str:
        """The sha256 of the weights: names and float32 bytes, sorted by name."""
        return hash_weights(self._network)

    def predict(self, images: Images) -> Predictions:
        """Classify images uint8 (n, H, W, C)."""
        with torch.inference_mode():
            outputs = [
                self._network(_to_floats(images[start : start + FORWARD_BATCH]))
                for start in range(0, len(images), FORWARD_BATCH)
            ]
        features = torch.cat([features for features, _ in outputs])
        logits = torch.cat([logits for _, logits in outputs])
        return Predictions(features.numpy(), logits.softmax(dim=1).numpy())


def train(
    images: Images,
    labels: NDArray[np.int64],
    num_classes: int,
    recipe: Recipe,
    mirror: bool = False,
    progress: ProgressCallback = ignore_progress,
    step_name: str = "classifier",
) -> Classifier:
    """Train a classifier.

    Args:
        images: uint8 (n, H, W, C), at least two.
        labels: int64 (n,), from 0 to num_classes - 1.
        num_classes: the number of classes.
        recipe: the network and how it is trained.
        mirror: flip each image with probability 1/2 whenever it is shown.
        progress: called after each step, under `step_name`.
        step_name: what is trained, in words.
    """
    height, width, channels = images.shape[1:]
    network = _create_network((channels, height, width), num_classes, recipe)
    batch = min(recipe.batch, len(images))
    # Whole batches only: batch normalisation cannot use a batch of one image.
    steps = len(images) // batch
    epochs = max(recipe.epochs, -(-recipe.min_images_shown // len(images)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.peak_lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.peak_lr, total_steps=steps * epochs)
    targets = torch.from_numpy(labels)
    network.train()
    for epoch in range(epochs):
        rng = np.random.RandomState((recipe.seed, epoch))
        order = rng.permutation(len(images))
        is_flipped = rng.randint(0, 2, len(images)).astype(bool) & mirror
        for step in range(steps):
            rows = np.sort(order[step * batch : (step + 1) * batch])
            shown = images[rows]
            shown[is_flipped[rows]] = shown[is_flipped[rows], :, ::-1]
            _, logits = network(_to_floats(shown))
            loss = F.cross_entropy(logits, targets[torch.from_numpy(rows)])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            progress(step_name, epoch * steps + step + 1, epochs * steps)
    return Classifier(network)


def train_several(
    images: Images,
    labels: NDArray[np.int64],
    num_classes: int,
    recipe: Recipe,
    count: int,
    mirror: bool = False,
    progress: ProgressCallback = ignore_progress,
    step_name: str = "classifiers",
) -> tuple[Classifier, ...]:
    """Train `count` classifiers with the seeds from `recipe.seed` on, one a core at once; as `train` does."""
    done_by_seed = [0] * count
    lock = threading.Lock()

    def train_one(k: int) -> Classifier:
        def add_progress(step: str, done: int, total: int) -> None:
            with lock:
                done_by_seed[k] = done
                progress(step, sum(done_by_seed), count * total)

        seeded = recipe.model_copy(update={"seed": recipe.seed + k})
        return train(images, labels, num_classes, seeded, mirror, add_progress, step_name)

    return tuple(map_in_threads(train_one, range(count)))


def find_correct(
    classifiers: Sequence[Classifier], images: Images, labels: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Return whether each classifier assigns each image to its label, bool (classifiers, n); labels are int64 (n,)."""
    predicted = map_in_threads(lambda classifier: classifier.predict(images).labels, classifiers)
    return np.array([found == labels for found in predicted], bool).reshape(len(classifiers), len(images))


def _to_floats(images: Images) -> Tensor:
    """Return float32 (n, C, H, W) from -1 to 1."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)
