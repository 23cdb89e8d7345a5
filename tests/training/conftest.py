"""What the trainer's tests share: a tiny data set, tiny configurations, and one finished run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import Config
from training.config_files import load_preset
from training.data.dataset import Dataset
from training.runs import loop

# 8x8 images; 10 ticks of 4 steps of 16 images each; every optional part is off.
TINY = Config.model_validate(
    {
        "preset": "digits",
        "description": "stripes for tests",
        "batch": 16,
        "z_dim": 8,
        "threads": 1,
        "tick_kimg": 0.064,
        "total_kimg": 0.64,
        "schedule_kimg": 0.64,
        "lr": {"start": 1e-3, "end": 1e-4},
        "gamma": {"start": 1.0, "end": 0.1},
        "beta2": {"start": 0.9, "end": 0.99},
        "ema_halflife_kimg": {"start": 0, "end": 15},
        "data": {"name": "stripes", "licence": "CC0"},
        "generator": {"kind": "resnet", "base": 4, "widths": [8, 4], "label_dim": 4},
        "discriminator": {"kind": "resnet", "base": 4, "widths": [8, 4], "label_dim": 4},
        "gate": {"gan_train": {"min_ratio_to_real": 0.97}, "distance_ratio": {"min": 0.75}},
    }
)
# The same as arguments of --set for the preset "digits": every setting is stated.
TINY_SETTINGS = tuple(
    f"{name}={json.dumps(value)}" for name, value in TINY.model_dump(mode="json").items() if name != "preset"
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
    """Arguments of --set that turn the preset "digits" into a configuration for `tiny_data`."""
    return TINY_SETTINGS


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Config]:
    """Return a function that makes a configuration for `tiny_data`, with further assignments."""

    def make(*assignments: str) -> Config:
        return load_preset("digits", (*TINY_SETTINGS, *assignments))

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


@pytest.fixture
def data_path(tiny_data: Dataset, tmp_path: Path) -> Path:
    """`tiny_data` in a file."""
    path = tmp_path / "stripes.npz"
    names = np.array(tiny_data.class_names)
    np.savez(path, images=tiny_data.images, labels=tiny_data.labels, label_names=names)  # type: ignore[arg-type]
    return path
