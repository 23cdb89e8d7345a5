"""What the evaluation's tests share: a small protocol, the repository's digits, and generators good and bad."""

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
from training.config import DataConfig, load_preset
from training.evaluation import data_split
from training.evaluation.classifier import Recipe
from training.evaluation.data_split import DataSplit
from training.evaluation.evaluate import EvaluationResult, evaluate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.protocol import Protocol

REPOSITORY = Path(__file__).parents[3]
DIGITS = REPOSITORY / "tests" / "data" / "digits"


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    """The standard one at the size of 500 digits: 350 to learn from, 150 to test with."""
    return Protocol(
        name="small",
        holdout=0.3,
        classifier=Recipe(width=8, features=16, epochs=8, min_images_shown=0, batch=25),
        kid_subsets=5,
        kid_size=100,
        score_splits=5,
        bins=10,
        neighbours=20,
        # So few digits lie far apart: half the usual distance is no copy yet.
        copy_share=0.25,
    )


@pytest.fixture(scope="session")
def digits(protocol: Protocol) -> DataSplit:
    """The 500 digits of the repository, which the bundled model made."""
    return data_split.load(DIGITS, DataConfig(), protocol.holdout)


@pytest.fixture(scope="session")
def bundled() -> Sampler:
    return artifact.load(REPOSITORY / "models" / "pretrained" / "digits")


@pytest.fixture(scope="session")
def subject(bundled: Sampler) -> Callable[[Generator], EvaluatedGenerator]:
    """Makes a subject of any generator of digits, with the gate of the preset."""

    def make(generator: Generator) -> EvaluatedGenerator:
        return EvaluatedGenerator("a test", torch_sampler(generator, bundled.manifest), load_preset("digits").gate)

    return make


@pytest.fixture(scope="session")
def good(bundled: Sampler, subject: Callable[[Generator], EvaluatedGenerator]) -> EvaluatedGenerator:
    """RngStreams from the very distribution that the data is from."""
    return subject(torch_runtime(bundled).generator)


@pytest.fixture(scope="session")
def one_class(bundled: Sampler, subject: Callable[[Generator], EvaluatedGenerator]) -> EvaluatedGenerator:
    """Makes a three, whatever it is asked for."""
    return subject(lambda z, label: torch_runtime(bundled).generator(z, torch.full_like(label, 3)))


@pytest.fixture(scope="session")
def one_image(bundled: Sampler, subject: Callable[[Generator], EvaluatedGenerator]) -> EvaluatedGenerator:
    """Makes one and the same image of each class."""
    return subject(lambda z, label: torch_runtime(bundled).generator(torch.ones_like(z), label))


@pytest.fixture(scope="session")
def memorising(digits: DataSplit, subject: Callable[[Generator], EvaluatedGenerator]) -> EvaluatedGenerator:
    """Answers with training images of the class that is asked for."""
    pixels, labels = digits.train.batch(np.arange(len(digits.train)))

    def look_up(z: Tensor, label: Tensor) -> Tensor:
        rows = [np.flatnonzero(labels == k)[int(abs(x) * 1e6) % (labels == k).sum()] for x, k in zip(z[:, 0], label)]
        return torch.from_numpy(pixels[np.array(rows)])

    return subject(look_up)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests share, so that the classifier of real images is trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def of_good(good: EvaluatedGenerator, digits: DataSplit, protocol: Protocol, kept: Path) -> EvaluationResult:
    """The good generator's evaluation, the first that fills the cache."""
    return evaluate(good, digits, protocol, kept)
