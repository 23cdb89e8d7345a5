"""What a training costs, said before it begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.config import Config
from training.config_files import list_presets, load_preset
from training.data.dataset import Dataset
from training.runs.cost import describe_weights, outline
from training.runs.loop import measure_rate

GIB = 2**30


def make_data(shape: tuple[int, int, int]) -> Dataset:
    return Dataset("shape", np.zeros((2, *shape[1:], shape[0]), np.uint8), np.zeros(2, np.int64), ("a", "b"))


@pytest.mark.parametrize("compute", ["small", "medium", "large"])
@pytest.mark.parametrize("side", [96, 128, 192, 256])
def test_a_step_of_large_images_fits_into_4_gib(side: int, compute: str) -> None:
    shape = (3, side, side)

    _, step_bytes = outline(load_preset("own", (f"compute={compute}",), shape), make_data(shape))

    assert GIB / 8 < step_bytes < 4 * GIB


def test_the_estimate_grows_with_the_batch_and_counts_the_weights(
    tiny_config: Callable[..., Config], tiny_data: Dataset
) -> None:
    (weights, small), (_, large) = (outline(tiny_config(f"batch={n}", "encoder={}"), tiny_data) for n in (16, 64))

    assert list(weights) == ["generator", "discriminator", "encoder"] and 2 * small < large < 5 * small
    assert describe_weights({"generator": 1234, "encoder": 5}) == "generator 1,234, encoder 5"


@pytest.mark.parametrize("preset", list_presets())
def test_every_preset_has_an_estimate(preset: str) -> None:
    config = load_preset(preset)
    shape = {"toy1d": (1, 1, 1), "toy25": (2, 1, 1), "triangles": (1, 32, 32)}.get(preset, (1, 28, 28))
    if preset.startswith("faces"):
        shape = (3, 64, 64)

    assert outline(config, make_data(shape))[1] > 0


def test_the_rate_is_measured_and_nothing_else_changes(tiny_config: Callable[..., Config], tiny_data: Dataset) -> None:
    before = torch.random.get_rng_state()

    assert measure_rate(tiny_config("penalty_every=2"), tiny_data, "cpu", seconds=0.01) > 0

    assert torch.equal(before, torch.random.get_rng_state())
