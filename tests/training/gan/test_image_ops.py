"""Averaging and clipping of images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.averaging import MAX_SIDE
from training.config import Config
from training.data.dataset import Dataset
from training.gan.discriminators import DiscriminatorOutput
from training.gan.image_ops import average_pixels, clip_pixels
from training.gan.trainer import Trainer
from training.gan.vae_gan import reconstruction_loss


def test_pixels_are_averaged_until_a_side_is_small_enough() -> None:
    images = torch.arange(28.0).expand(1, 1, 28, 28)

    assert average_pixels(images).shape == (1, 1, 14, 14)
    assert average_pixels(images)[0, 0, 0].tolist() == [2 * k + 0.5 for k in range(14)]
    assert average_pixels(torch.zeros(1, 3, 64, 64)).shape == (1, 3, MAX_SIDE, MAX_SIDE)
    assert average_pixels(torch.zeros(1, 1, MAX_SIDE, MAX_SIDE)).shape == (1, 1, MAX_SIDE, MAX_SIDE)
    toy = torch.randn(2, 2, 1, 1)
    assert torch.equal(average_pixels(toy), toy)
    assert reconstruction_loss(images, images + 0.5).tolist() == [0.25]


def test_what_is_outside_the_range_is_clipped_and_can_only_come_back() -> None:
    raw = torch.tensor([-3.0, -3.0, -1.0, 0.5, 1.0, 2.0, 2.0], requires_grad=True)
    slope = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])

    images = clip_pixels(raw)
    (images * slope).sum().backward()  # type: ignore[no-untyped-call]

    assert images.tolist() == [-1, -1, -1, 0.5, 1, 1, 1]
    # Descending goes against the slope.
    assert raw.grad is not None
    assert raw.grad.tolist() == [0, -1, 1, 1, -1, 1, 0]


@pytest.mark.parametrize("clip", ["true", "false"])
def test_the_discriminator_is_shown_clipped_images_where_that_is_asked(
    clip: str, tiny_config: Callable[..., Config], tiny_data: Dataset
) -> None:
    trainer = Trainer(tiny_config(f"clip_fakes={clip}"), tiny_data, "cpu")
    seen: list[Tensor] = []
    forward = trainer.learners.D.forward

    def watched(images: Tensor, labels: Tensor) -> DiscriminatorOutput:
        seen.append(images.detach())
        output: DiscriminatorOutput = forward(images, labels)
        return output

    trainer.learners.D.forward = watched
    trainer.step()

    assert len(seen) == 4
    assert all(images.abs().max() <= 1 for images in seen) == (clip == "true")
