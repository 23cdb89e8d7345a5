"""What the trainer's tests share: a tiny data set, tiny configurations, and one finished run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import Config, load_preset
from training.data.dataset import Dataset
from training.runs import loop

# 8x8 images, 4 steps of 16 images a tick, 10 ticks; without the preset's switches, which tests turn on one by one.
TINY = (
    "encoder=null",
    "clip=false",
    "penalty_every=1",
    "generator.start=basis",
    "discriminator.minibatch_group=1",
    "lr.end=1e-4",
    "gamma.end=0.1",
    "ema_halflife_kimg.end=15",
    "generator.base=4",
    "generator.widths=[8, 4]",
    "generator.label_dim=4",
    "discriminator.base=4",
    "discriminator.widths=[8, 4]",
    "discriminator.label_dim=4",
    "batch=16",
    "z_dim=8",
    "threads=1",
    "tick_kimg=0.064",
    "total_kimg=0.64",
    "schedule_kimg=0.64",
    "data.name=stripes",
    "data.licence=CC0",
)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """A training run sets torch's threads and determinism for its whole process; undo that."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    # Not use_deterministic_algorithms: it loads the compiler, which takes seconds.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")


@pytest.fixture(scope="session")
def tiny_settings() -> tuple[str, ...]:
    """What makes the preset "digits" fit `tiny_data`, as arguments of --set."""
    return TINY


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Config]:
    """Makes a configuration for `tiny_data`, with further assignments."""

    def make(*assignments: str) -> Config:
        return load_preset("digits", (*TINY, *assignments))

    return make


@pytest.fixture(scope="session")
def tiny_data() -> Dataset:
    """256 grey 8x8 images of noise in 3 classes."""
    images = np.random.RandomState(0).randint(0, 256, (256, 8, 8, 1)).astype(np.uint8)
    return Dataset("stripes", images, np.arange(256, dtype=np.int64) % 3, ("none", "flat", "upright"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[..., Config], tiny_data: Dataset) -> Path:
    """The folder of an undisturbed run; for reading only."""
    out = tmp_path_factory.mktemp("finished") / "run"
    loop.run(tiny_config(), tiny_data, out, "cpu", "ganmint train --preset digits")
    return out
