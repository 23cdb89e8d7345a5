"""The objective against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.gan.losses import (
    OBJECTIVES,
    discriminator_loss,
    generator_loss,
    infogan_loss,
    zero_centered_gradient_penalty,
)


def test_losses_are_the_softplus_of_each_pairs_difference() -> None:
    real, fake = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 3.0, -1.0])

    expected_g = [math.log(2), math.log1p(math.exp(-2)), math.log1p(math.exp(3))]
    expected_d = [math.log(2), math.log1p(math.exp(2)), math.log1p(math.exp(-3))]

    assert generator_loss(real, fake).tolist() == pytest.approx(expected_g)
    assert discriminator_loss(real, fake).tolist() == pytest.approx(expected_d)


def test_losses_mirror_each_other() -> None:
    real, fake = torch.randn(2, 100, generator=torch.Generator().manual_seed(0)).unbind()

    assert torch.equal(generator_loss(real, fake), discriminator_loss(fake, real))


def test_losses_see_only_the_difference_of_logits() -> None:
    real, fake = torch.tensor([0.5, -2.0]), torch.tensor([1.5, 4.0])

    assert torch.equal(generator_loss(real + 64, fake + 64), generator_loss(real, fake))
    assert torch.equal(discriminator_loss(real + 64, fake + 64), discriminator_loss(real, fake))


def test_losses_stay_finite_for_huge_logits() -> None:
    real, fake = torch.tensor([1e4, -1e4]), torch.tensor([-1e4, 1e4])

    assert generator_loss(real, fake).tolist() == [2e4, 0.0]
    assert discriminator_loss(real, fake).tolist() == [0.0, 2e4]


def test_each_network_lowers_its_loss_by_moving_fake_logits_its_own_way() -> None:
    real, fake = torch.zeros(3), torch.zeros(3, requires_grad=True)

    (for_g,) = torch.autograd.grad(generator_loss(real, fake).sum(), fake)
    (for_d,) = torch.autograd.grad(discriminator_loss(real, fake).sum(), fake)

    assert for_g.tolist() == [-0.5] * 3
    assert for_d.tolist() == [0.5] * 3


def test_penalty_of_a_linear_discriminator_is_the_squared_norm_of_its_weights() -> None:
    weight = torch.tensor([1.0, -2.0, 3.0, 0.5]).reshape(1, 1, 2, 2)
    images = torch.randn(5, 1, 2, 2, requires_grad=True)

    penalty = zero_centered_gradient_penalty(images, (images * weight).sum((1, 2, 3)))

    assert penalty.tolist() == pytest.approx([14.25] * 5)


def test_penalty_of_a_quadratic_discriminator_grows_with_each_image_of_its_own() -> None:
    images = torch.arange(12.0).reshape(3, 1, 2, 2).requires_grad_()

    # The gradient of 1.5 |x|^2 is 3 x.
    penalty = zero_centered_gradient_penalty(images, 1.5 * images.square().sum((1, 2, 3)))

    assert penalty.tolist() == pytest.approx((9 * images.detach().square().sum((1, 2, 3))).tolist())


def test_penalty_is_differentiable_by_the_discriminators_weights() -> None:
    weight = torch.tensor([1.0, -2.0, 3.0, 0.5], requires_grad=True)
    images = torch.randn(5, 4, 1, 1, requires_grad=True)

    zero_centered_gradient_penalty(images, images.flatten(1) @ weight).sum().backward()  # type: ignore[no-untyped-call]

    # Five times the gradient of |w|^2.
    assert weight.grad is not None
    assert torch.allclose(weight.grad, 10 * weight.detach())


def test_the_classic_losses_are_cross_entropies() -> None:
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -1.0])
    classic = OBJECTIVES["classic"]

    right = [-math.log(torch.sigmoid(x).item()) for x in (real[0], real[1])]
    wrong = [-math.log(1 - torch.sigmoid(x).item()) for x in (fake[0], fake[1])]

    assert classic.discriminator(real, fake).tolist() == pytest.approx([a + b for a, b in zip(right, wrong)])
    assert classic.generator(real, fake).tolist() == pytest.approx([-math.log(torch.sigmoid(x).item()) for x in fake])


def test_the_codes_loss_is_half_the_squared_distance_and_0_without_codes() -> None:
    guessed, codes = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])

    assert infogan_loss(guessed, codes).tolist() == [2.0, 12.5]
    assert infogan_loss(guessed[:, :0], codes[:, :0]).tolist() == [0.0, 0.0]
