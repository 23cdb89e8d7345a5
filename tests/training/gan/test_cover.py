"""What was left out is found, and drawn to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import Config
from training.data.dataset import Dataset
from training.gan.cover import Cover, CoverConfig
from training.gan.image_ops import SIDE, averaged
from training.gan.trainer import Trainer
from training.rng import RngStreams

Z_DIM = 5


def bars(places: NDArray[np.int64], labels: NDArray[np.int64] | None = None) -> Dataset:
    """8x8 pictures of a bright column each, at `places`, on a little noise."""
    images = np.random.RandomState(0).randint(0, 20, (len(places), 8, 8, 1)).astype(np.uint8)
    images[np.arange(len(places)), :, places] = 255
    return Dataset("bars", images, labels, () if labels is None else ("left", "right"))


def bars_at(places: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(bars(places).batch(np.arange(len(places)))[0])


def cover(data: Dataset, config: CoverConfig | None = None, seed: int = 0) -> Cover:
    return Cover(config or CoverConfig(every_kimg=1), data, RngStreams(seed, 16, len(data)), Z_DIM)


def test_what_no_generated_image_is_near_is_left_out() -> None:
    places = np.repeat([1, 6], [90, 30])
    matching = cover(bars(places))

    # Noise as real images have it, but of other numbers.
    matching.match(
        0, lambda latents, labels: bars_at(np.full(len(latents), 1)) + 0.01 * torch.randn(len(latents), 1, 8, 8)
    )

    out, latents = matching.drawn(np.arange(120))
    assert out[places == 6].all()
    assert not out[places == 1].all()
    assert matching.left_out == out.mean()
    assert latents.shape == (out.sum(), Z_DIM)


def test_equal_distributions_leave_out_the_same_share_in_classes_of_any_size() -> None:
    """Exchangeable: three of three nearest are real with probability (3/4)^3, and somewhat less without replacement."""
    labels = np.repeat([0, 1], [3000, 300])
    random = np.random.RandomState(3)
    data = Dataset("noise", random.standard_normal((3300, 4, 1, 1)).astype(np.float32), labels, ("many", "few"))
    matching = cover(data, CoverConfig(every_kimg=3.3))

    matching.match(0, lambda latents, labels: torch.randn(len(latents), 4, 1, 1))

    out, _ = matching.drawn(np.arange(3300))
    assert out[labels == 0].mean() == pytest.approx(0.42, abs=0.06)
    assert out[labels == 1].mean() == pytest.approx(0.42, abs=0.12)


def test_each_is_matched_with_the_nearest_of_its_class() -> None:
    """A generated bar is where its latent says: on the left in one class, on the right in the other."""
    labels = np.tile([0, 1], 60)
    data = bars(np.where(labels == 0, 3, 7), labels)
    matching = cover(data, CoverConfig(every_kimg=1, candidates=20))

    def place(latents: NDArray[np.float32], of: Tensor) -> NDArray[np.int64]:
        places: NDArray[np.int64] = np.digitize(latents[:, 0], [-0.5, 0.5]) + 4 * of.numpy()
        return places

    matching.match(0, lambda latents, of: bars_at(place(latents, of)))

    out, latents = matching.drawn(np.arange(120))
    assert out.all()
    # With equal distances to all of them, the nearest is decided by noise: none is ruled out.
    assert set(place(latents, torch.from_numpy(labels)).tolist()) <= {0, 1, 2, 4, 5, 6}
    assert np.array_equal(matching.loss(bars_at(np.where(labels == 0, 3, 7)), np.arange(120)).numpy(), np.zeros(120))
    assert (matching.loss(bars_at(place(latents, torch.from_numpy(labels))), np.arange(120)) > 0.1).all()


def test_only_what_will_be_shown_is_matched_and_in_good_time() -> None:
    data = bars(np.full(120, 6))
    matching = cover(data, CoverConfig(every_kimg=0.032))
    assert matching.due(0)

    matching.match(32, lambda latents, labels: bars_at(np.full(len(latents), 1)))

    shown = RngStreams(0, 16, 120).coming(32, 32)
    out, _ = matching.drawn(np.arange(120))
    assert set(np.flatnonzero(out).tolist()) == set(shown.tolist())
    assert [matching.due(images) for images in (16, 32, 48, 64)] == [True, False, False, True]


def test_a_class_of_too_few_is_let_be_and_no_configuration_draws_nothing() -> None:
    few = cover(bars(np.array([1, 2, 3])))
    few.match(0, lambda latents, labels: bars_at(np.full(len(latents), 6)))
    assert not few.drawn(np.arange(3))[0].any()

    without = Cover(None, bars(np.array([1, 2, 3])), RngStreams(0, 16, 3), Z_DIM)
    assert not without.due(0) and without.state() == {}


def test_pictures_are_compared_by_strokes() -> None:
    assert averaged(torch.randn(2, 3, 28, 28)).shape == (2, 3, 14, 14)
    assert averaged(torch.randn(2, 1, 64, 64)).shape == (2, 1, SIDE, SIDE)
    toy = torch.randn(2, 2, 1, 1)
    assert torch.equal(averaged(toy), toy)


def test_the_generator_follows_the_gradient_of_both_losses(
    tiny_config: Callable[..., Config], tiny_data: Dataset
) -> None:
    settings = "cover={weight: 7, nearest: 1, candidates: 4}"
    trainer, without = Trainer(tiny_config(settings), tiny_data, "cpu"), Trainer(tiny_config(), tiny_data, "cpu")
    without.load_state({**trainer.state(), "cover": {}})
    real, labels = trainer._real_batch()

    trainer._update_generator(real, labels)
    without._update_generator(real, labels)

    again = Trainer(tiny_config(settings), tiny_data, "cpu")
    again.cover.match(0, again._imagined)
    rows = again.draws.indices(0)
    out, latents = again.cover.drawn(rows)
    assert out.sum() > 0
    pulled = again.cover.loss(again.G(torch.from_numpy(latents), labels[torch.from_numpy(out)]), rows[out]).sum() / 16
    expected = torch.autograd.grad(7 * pulled, list(again.G.parameters()))
    for with_cover, plain, gradient in zip(trainer.G.parameters(), without.G.parameters(), expected, strict=True):
        assert with_cover.grad is not None and plain.grad is not None
        assert torch.allclose(with_cover.grad - plain.grad, gradient, rtol=1e-3, atol=1e-5)
    assert any(bool(gradient.any()) for gradient in expected)


def test_latents_of_a_smaller_deviation_are_those_of_one_made_smaller(
    tiny_config: Callable[..., Config], tiny_data: Dataset
) -> None:
    usual, smaller = (Trainer(tiny_config(f"latent_sd={sd}"), tiny_data, "cpu")._noise(0) for sd in (1.0, 0.5))

    assert torch.equal(smaller, 0.5 * usual)
