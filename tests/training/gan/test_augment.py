"""Augmentation: the transformations, that they differentiate twice, and their settings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from training.gan.augment import augment, recolour, warp
from training.optional_parts import AugmentConfig
from training.schedule import CosineSchedule


def random(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def images(count: int = 4, channels: int = 3, side: int = 8) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def rotation(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]])


def shift(x: float, y: float) -> Tensor:
    return torch.tensor([[[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]]])


def test_at_probability_0_images_are_left_alone() -> None:
    x = images()

    assert augment(x, 0.0, random()) is x


@pytest.mark.parametrize("channels", [1, 3])
def test_augmenting_keeps_shape_and_changes_each_image_in_its_own_way(channels: int) -> None:
    x = images(1, channels).expand(4, -1, -1, -1)

    seen = augment(x, 0.8, random())

    assert seen.shape == x.shape
    assert len({tuple(image.flatten().tolist()) for image in seen}) == 4


def test_equal_draws_give_equal_images_and_the_probability_decides_how_many_change() -> None:
    x = images(200, 1)

    changed = [(augment(x, p, random()) - x).abs().amax((1, 2, 3)).gt(1e-3).float().mean() for p in (0.02, 0.1, 0.5)]

    assert torch.equal(augment(x, 0.5, random()), augment(x, 0.5, random()))
    assert 0.05 < changed[0] < 0.3 < changed[1] < changed[2]


def test_an_image_does_not_depend_on_what_else_is_in_the_batch() -> None:
    x = images()
    other = torch.cat([x[:1], -x[1:]])

    assert torch.equal(augment(x, 0.8, random())[0], augment(other, 0.8, random())[0])


def test_a_quarter_turn_and_whole_shifts_are_exact() -> None:
    x = images(1)

    turned, shifted = warp(x, rotation(math.pi / 2)), warp(x, shift(2.0, 1.0))

    assert torch.allclose(turned, x.rot90(1, (2, 3)), atol=1e-5)
    assert torch.equal(shifted[..., :-1, :-2], x[..., 1:, 2:])
    # Beyond the border the picture is mirrored at its last row.
    assert torch.equal(shifted[..., -1, :-2], x[..., -2, 2:])


def test_half_a_pixel_is_the_mean_of_two() -> None:
    x = images(1)

    assert torch.allclose(warp(x, shift(0.5, 0.0))[..., :-1], (x[..., :-1] + x[..., 1:]) / 2, atol=1e-6)


def test_colours_are_mapped_by_matrix_and_offset() -> None:
    x = images(2)
    swap = torch.tensor([[[0.0, 0, 1, 0.5], [0, 1, 0, 0], [1, 0, 0, 0]]]).expand(2, -1, -1)

    seen = recolour(x, swap)

    assert torch.allclose(seen, torch.stack([x[:, 2] + 0.5, x[:, 1], x[:, 0]], 1))


def test_greys_stay_grey() -> None:
    x = images(64, 1).expand(-1, 3, -1, -1)

    seen = augment(x, 0.8, random())

    assert torch.allclose(seen.amin(1), seen.amax(1), atol=1e-4)


def test_augmenting_can_be_differentiated_twice() -> None:
    x = images(2, 3, 5).double().requires_grad_()

    def cubed(x: Tensor) -> Tensor:
        return augment(x, 0.8, random(3)).pow(3)

    assert torch.autograd.gradcheck(cubed, x)
    assert torch.autograd.gradgradcheck(cubed, x)


def test_a_colour_share_of_0_leaves_the_range_of_values() -> None:
    """Geometry moves pixels and mixes neighbours, which never leaves the range that they had."""
    x = images(64)

    geometry_only = augment(x, 0.8, random(), colour_share=0.0)

    assert geometry_only.abs().max() <= 1 + 1e-5
    assert augment(x, 0.8, random()).abs().max() > 1.2
    # Both draw the same numbers for the geometry.
    assert not torch.allclose(geometry_only, x)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"p": 0.9}, "from 0 to 0.8"),
        ({"p": {"start": 0.9, "end": 0}}, "from 0 to 0.8"),
        ({"p": -0.1}, "must not be negative"),
        ({"colour": 1.1}, "less than or equal to 1"),
        ({"target": 0.6}, "target was removed"),
        ({"start": 0.1, "adjust_kimg": 500}, "adjust_kimg was removed"),
        ({"strength": 1}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AugmentConfig.model_validate(values)


def test_by_default_the_probability_rises_from_0_to_0_3() -> None:
    config = AugmentConfig()

    assert [config.p.at(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.15, 0.3])
    assert AugmentConfig.model_validate({"p": 0.2}).p == CosineSchedule(start=0.2, end=0.2)
