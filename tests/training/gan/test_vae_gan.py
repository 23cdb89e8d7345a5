"""What the encoder reads, G makes again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Normal, kl_divergence

from models.errors import InputError
from training.config import Config, EncoderConfig, load_preset
from training.data.dataset import Dataset
from training.gan.encoders import Posterior
from training.gan.image_ops import averaged
from training.gan.trainer import STATS, Trainer
from training.gan.vae_gan import divergence, read

MakeConfig = Callable[..., Config]


def bars() -> Dataset:
    """8x8 pictures of a bright column each, at any of eight places."""
    images = np.zeros((256, 8, 8, 1), np.uint8)
    images[np.arange(256), :, np.arange(256) % 8] = 255
    return Dataset("bars", images, None, ())


def test_the_divergence_is_that_of_the_two_normal_distributions() -> None:
    posterior = Posterior(torch.randn(4, 3), torch.randn(4, 3))

    found = divergence(posterior)

    own = Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    assert torch.allclose(found, kl_divergence(own, Normal(0.0, 1.0)).sum(1), atol=1e-5)
    assert torch.equal(divergence(Posterior(torch.zeros(2, 3), torch.zeros(2, 3))), torch.zeros(2))


def test_latents_are_drawn_from_what_was_read() -> None:
    posterior = Posterior(torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, -4.0]]))

    drawn = read(posterior, torch.randn(20_000, 2))

    assert drawn.mean(0).tolist() == pytest.approx([2, -1], abs=0.05)
    assert drawn.std(0).tolist() == pytest.approx([1, np.exp(-2)], rel=0.05)


def test_every_second_image_of_gs_batch_is_read_and_the_others_are_not(
    tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    trainer = Trainer(tiny_config("encoder={}", "latent_std=0.5"), tiny_data, "cpu")
    real, labels = trainer._real_batch()
    noise = trainer._noise(0)

    z, apart = trainer._read(real, labels, noise)
    elsewhere, _ = trainer._read(-real, labels, noise)

    assert torch.equal(z[1::2], noise[1::2])
    assert not torch.isclose(z[::2], elsewhere[::2]).any()
    assert apart.shape == (8,)
    # Scaled as all latents of this run are, from the same standard normal numbers.
    assert trainer.reader is not None
    posterior = trainer.reader.network(real[::2], labels[::2])
    assert torch.allclose(z[::2], 0.5 * read(posterior, noise[::2] / 0.5))
    assert torch.equal(apart, divergence(posterior))


def test_what_is_read_comes_out_again(tiny_config: MakeConfig) -> None:
    """Against less than half of the images' own variance, 0.44: what G makes knows what was read."""
    data = bars()
    trainer = Trainer(tiny_config("encoder={weight: 40}", "lr={start: 0.003, end: 0.003}"), data, "cpu")

    stats = [dict(zip(STATS, trainer.step().tolist())) for _ in range(300)]

    late = float(np.mean([row["reconstruction"] for row in stats[-50:]]))
    assert late < 0.2
    assert all(row["divergence"] > 0 for row in stats)
    spread = averaged(torch.from_numpy(data.batch(np.arange(256))[0])).var(dim=0, unbiased=False).mean().item()
    assert spread == pytest.approx(0.44, abs=0.01)


def test_the_encoder_does_not_hear_the_discriminator(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    """Or it would rather fool D than be true to the image: without weight, nothing is left to follow."""
    trainer = Trainer(tiny_config("encoder={weight: 0}"), tiny_data, "cpu")
    assert trainer.reader is not None
    before = [w.clone() for w in trainer.reader.network.parameters()]

    trainer.step()

    for old, new in zip(before, trainer.reader.network.parameters()):
        assert torch.equal(old, new)


def test_d_judges_none_of_what_was_read(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    def learnt(read_as: float) -> list[torch.Tensor]:
        trainer = Trainer(tiny_config("encoder={weight: 0}"), tiny_data, "cpu")
        real, labels = trainer._real_batch()
        noise = trainer._noise(0)
        noise[::2] = read_as
        trainer._read = lambda *_: (noise, torch.zeros(8, requires_grad=True))  # type: ignore[method-assign]
        trainer._update_generator(real, labels)
        return list(trainer.G.parameters())

    for one, other in zip(learnt(0.5), learnt(-3.0)):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weight": -1}, "must not be negative"),
        ({"weight": {"start": 1, "end": -1}}, "must not be negative"),
        ({"kl_weight": -0.1}, "greater than or equal to 0"),
        ({"wieght": 1}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        EncoderConfig.model_validate(values)


def test_a_network_without_a_pyramid_has_no_encoder() -> None:
    with pytest.raises(InputError, match="encoder needs a discriminator of kind resnet"):
        load_preset("dcgan", ("encoder={}",))
