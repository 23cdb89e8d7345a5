"""A learned prior is fitted to what the encoder reads, and to nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.network_config import PriorConfig
from models.networks import LearnedPrior, one_hot
from training.config import Config
from training.data.dataset import Dataset
from training.data_config import DataConfig
from training.gan import prior as fitting
from training.gan.encoders import Posterior
from training.gan.prior import EncodedImages, encode_images, fit_prior, flow_matching_loss

MakeConfig = Callable[..., Config]
SMALL = PriorConfig(width=32, steps=8)


def ignore(*_: int) -> None:
    pass


def make_encoded(count: int = 4000) -> EncodedImages:
    """Two classes of encoded images in 2 dimensions: a narrow one to the left, and two islands to the right."""
    random = np.random.RandomState(0)
    labels = np.arange(count) % 2
    means = np.where(labels[:, None] == 0, [-1.0, 0.0], [1.0, 0.0]) + 0.2 * random.standard_normal((count, 2))
    means[:, 1] += np.where(labels == 1, random.choice([-1.0, 1.0], count), 0)
    posterior = Posterior(torch.tensor(means, dtype=torch.float32), torch.full((count, 2), -4.0))
    return EncodedImages(posterior, torch.from_numpy(labels), np.full(count, 1 / count))


def draw(prior: LearnedPrior, label: int, count: int = 2000) -> Tensor:
    z = torch.randn(count, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        moved: Tensor = prior(z, one_hot(torch.full((count,), label), 2))
    return moved


def test_drawn_latents_become_like_the_encoded_ones_of_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "STEPS", 1000)
    monkeypatch.setattr(fitting, "BATCH", 256)
    prior = fit_prior(SMALL, make_encoded(), 2, 1.0, 0, ignore)

    left, right = draw(prior, 0), draw(prior, 1)
    assert left.mean(0).tolist() == pytest.approx([-1, 0], abs=0.1)
    assert right.mean(0).tolist() == pytest.approx([1, 0], abs=0.1)
    # The standard deviations are 0.2 and that of the posterior, 0.135, together.
    assert left.std(0).tolist() == pytest.approx([0.24, 0.24], abs=0.1)
    assert 0.35 < (right[:, 1] > 0).float().mean() < 0.65
    # Few are left between the islands.
    assert (right[:, 1].abs() < 0.4).float().mean() < 0.15


def test_a_value_that_no_image_has_gets_latents_between_those_of_its_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "STEPS", 600)
    monkeypatch.setattr(fitting, "BATCH", 256)
    # Values 0 to 10 without 7 and 8; the mean of the latents is the value, from -1 to 1.
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6, 9, 10]).repeat(100)
    mean = torch.stack([labels / 5 - 1, torch.zeros(len(labels))], dim=1)
    encoded = EncodedImages(Posterior(mean, torch.full_like(mean, -4)), labels, np.full(len(labels), 1 / len(labels)))

    prior = fit_prior(SMALL, encoded, 11, 1.0, 0, ignore, has_continuous_label=True)

    z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    for value, place in ((2, -0.6), (7, 0.4), (8, 0.6)):
        drawn = prior(z, torch.eye(11)[value].expand(200, 11)).detach()
        assert float(drawn[:, 0].mean()) == pytest.approx(place, abs=0.15)


def test_latents_that_are_read_as_they_are_drawn_stay_where_they_are() -> None:
    """On the trigonometric path, nothing moves between two equal normal distributions."""
    prior = LearnedPrior(2, 2, SMALL)
    generator = torch.Generator().manual_seed(0)
    drawn, target = torch.randn(2, 4000, 2, generator=generator)
    classes = one_hot(torch.zeros(4000, dtype=torch.int64), 2)
    loss = flow_matching_loss(prior, drawn, target, classes, torch.arange(4000) % 8)
    loss.mean().backward()  # type: ignore[no-untyped-call]

    gradient = prior.out.weight.grad
    assert gradient is not None and gradient.abs().max() < 0.1


def test_the_spread_of_the_latents_in_training_is_the_priors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "STEPS", 150)
    narrow, wide = (draw(fit_prior(SMALL, make_encoded(), 2, std, 0, ignore), 0) for std in (1.0, 1.5))

    assert wide.mean(0)[0] == pytest.approx(1.5 * float(narrow.mean(0)[0]), abs=0.15)


def test_equal_arguments_give_the_same_prior_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "STEPS", 20)

    def fit(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(np.random.randint(1000))
        return fit_prior(SMALL, make_encoded(100), 2, 1.0, seed, ignore).state_dict()

    first, again, other = fit(0), fit(0), fit(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["out.weight"], other["out.weight"])


class MeanEncoder(nn.Module):
    """Reads an image's left half and its right half."""

    def forward(self, image: Tensor, label: Tensor) -> Posterior:
        halves = torch.stack([half.mean(dim=(1, 2, 3)) for half in image.chunk(2, dim=3)], dim=1)
        return Posterior(halves, label[:, None].float().expand(-1, 2))


def test_every_image_is_read_with_its_class_and_where_mirrored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "ENCODE_BATCH", 4)
    images = np.random.RandomState(0).randint(0, 256, (10, 8, 8, 1)).astype(np.uint8)
    data = Dataset("ten", images, np.arange(10, dtype=np.int64) % 3, ("a", "b", "c"))
    read = [
        encode_images(MeanEncoder(), data, torch.device("cpu"), DataConfig(mirror=mirror), ignore)
        for mirror in (False, True)
    ]

    assert read[0].posterior.mean.shape == (10, 2) and read[1].posterior.mean.shape == (20, 2)
    assert read[0].labels.tolist() == [k % 3 for k in range(10)]
    assert torch.allclose(read[1].posterior.mean[10:], read[0].posterior.mean.flip(1))
    assert torch.equal(read[0].posterior.log_variance[:, 0].long(), read[0].labels)


def test_rare_classes_are_fitted_as_often_as_they_are_shown() -> None:
    labels = np.array([0] * 8 + [1] * 2, np.int64)
    data = Dataset("ten", np.zeros((10, 8, 8, 1), np.uint8), labels, ("many", "few"))
    encoded = encode_images(MeanEncoder(), data, torch.device("cpu"), DataConfig(class_sampling_power=0.5), ignore)

    assert encoded.shares[:8].sum() == pytest.approx(8**0.5 / (8**0.5 + 2**0.5))
    assert encoded.shares.sum() == pytest.approx(1)
