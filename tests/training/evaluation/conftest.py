"""Fixtures of the evaluation's tests: a small protocol, real digits, and good and bad generators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models import artifact
from models.runtime.torchscript import Generator
from models.sampler import Sampler
from tests.samplers import torch_runtime, torch_sampler
from training.data_config import DataConfig
from training.evaluation import data_split
from training.evaluation.classifier import Recipe
from training.evaluation.data_split import DataSplit
from training.evaluation.evaluate import EvaluationResult, evaluate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.protocol import Protocol
from training.gate import Bound
from training.metric_results import MetricName

REPOSITORY = Path(__file__).parents[3]
# Thresholds that 500 digits can tell; the presets' are for thousands.
GATE: dict[MetricName, Bound] = {
    "gan_train": Bound(min_ratio_to_real=0.97),
    "coverage": Bound(min_ratio_to_real=0.9),
    "distance_ratio": Bound(min=0.75, max=1.4),
    "near_copies": Bound(max_above_real=0.001),
}
DIGITS = REPOSITORY / "tests" / "data" / "digits"


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    """Return a protocol for 500 digits: 350 for training and 150 for testing."""
    return Protocol(
        name="small",
        holdout=0.3,
        classifier=Recipe(width=8, features=16, epochs=8, min_images_shown=0, batch=25),
        min_images=70,
        kid_subsets=5,
        kid_size=100,
        score_splits=5,
        bins=8,
        neighbours=20,
        # Distances between so few digits are large, so half the usual distance does not yet mean a copy.
        copy_share=0.25,
    )


@pytest.fixture(scope="session")
def digits(protocol: Protocol) -> DataSplit:
    """Load the 500 digits of the repository, which the bundled model generated."""
    return data_split.load(DIGITS, DataConfig(), share=protocol.holdout)


@pytest.fixture(scope="session")
def bundled() -> Sampler:
    return artifact.load(REPOSITORY / "models" / "pretrained" / "digits", runtime="torchscript")


@pytest.fixture(scope="session")
def create_evaluated(bundled: Sampler) -> Callable[[Generator], EvaluatedGenerator]:
    """Return a function that wraps any generator of digits, with a gate for the small protocol."""

    def create(generator: Generator) -> EvaluatedGenerator:
        return EvaluatedGenerator("a test", torch_sampler(generator, bundled.manifest), GATE)

    return create


@pytest.fixture(scope="session")
def good_generator(bundled: Sampler, create_evaluated: Callable[[Generator], EvaluatedGenerator]) -> EvaluatedGenerator:
    """Return the generator that made the data."""
    return create_evaluated(torch_runtime(bundled).generator)


@pytest.fixture(scope="session")
def one_class_generator(
    bundled: Sampler, create_evaluated: Callable[[Generator], EvaluatedGenerator]
) -> EvaluatedGenerator:
    """Return a generator that draws a three for every label."""
    three = torch.eye(10)[3]
    return create_evaluated(lambda z, _: torch_runtime(bundled).generator(z, three.expand(len(z), -1)))


@pytest.fixture(scope="session")
def one_image_generator(
    bundled: Sampler, create_evaluated: Callable[[Generator], EvaluatedGenerator]
) -> EvaluatedGenerator:
    """Return a generator that draws one image for each class."""
    return create_evaluated(lambda z, weights: torch_runtime(bundled).generator(torch.ones_like(z), weights))


@pytest.fixture(scope="session")
def memorising_generator(
    digits: DataSplit, create_evaluated: Callable[[Generator], EvaluatedGenerator]
) -> EvaluatedGenerator:
    """Return a generator that copies training images of the requested class."""
    pixels, labels = digits.train.batch(np.arange(len(digits.train)))

    def look_up(z: Tensor, class_weights: Tensor) -> Tensor:
        classes = class_weights.argmax(dim=1).numpy()
        rows = [np.flatnonzero(labels == k)[int(abs(x) * 1e6) % (labels == k).sum()] for x, k in zip(z[:, 0], classes)]
        return torch.from_numpy(pixels[np.array(rows)])

    return create_evaluated(look_up)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that the tests share, so that the classifier of real images is trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def good_result(
    good_generator: EvaluatedGenerator, digits: DataSplit, protocol: Protocol, cache_dir: Path
) -> EvaluationResult:
    """Evaluate the good generator, which fills the cache."""
    return evaluate(good_generator, digits, protocol, cache_dir)
