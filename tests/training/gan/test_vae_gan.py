"""G reconstructs real images from the latents that the encoder infers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Normal, kl_divergence

from models.errors import InputError
from training.config import Config
from training.config_files import load_preset
from training.data.dataset import Dataset
from training.gan import updates
from training.gan.encoders import Posterior
from training.gan.image_ops import average_pixels
from training.gan.trainer import Trainer
from training.gan.vae_gan import insert_encoded, reparameterize
from training.gan.vae_gan import kl_divergence as kl_from_prior
from training.optional_parts import EncoderConfig

MakeConfig = Callable[..., Config]


def bars() -> Dataset:
    """8x8 pictures of a bright column each, at any of eight places."""
    images = np.zeros((256, 8, 8, 1), np.uint8)
    images[np.arange(256), :, np.arange(256) % 8] = 255
    return Dataset("bars", images, None, ())


def test_the_kl_divergence_is_between_two_normal_distributions() -> None:
    posterior = Posterior(torch.randn(4, 3), torch.randn(4, 3))

    kl = kl_from_prior(posterior)

    own = Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    assert torch.allclose(kl, kl_divergence(own, Normal(0.0, 1.0)).sum(1), atol=1e-5)
    assert torch.equal(kl_from_prior(Posterior(torch.zeros(2, 3), torch.zeros(2, 3))), torch.zeros(2))


def test_latents_are_sampled_from_the_posterior() -> None:
    posterior = Posterior(torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, -4.0]]))

    samples = reparameterize(posterior, torch.randn(20_000, 2))

    assert samples.mean(0).tolist() == pytest.approx([2, -1], abs=0.05)
    assert samples.std(0).tolist() == pytest.approx([1, np.exp(-2)], rel=0.05)


def test_every_second_image_of_gs_batch_is_encoded(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config("encoder={}", "latent_std=0.5"), tiny_data, "cpu")
    real, labels = trainer.inputs().real_batch()
    z = trainer.inputs().latents(0)

    assert trainer.learners.encoder is not None
    encoder = trainer.learners.encoder.network
    posterior, of_other_images = encoder(real[::2], labels[::2]), encoder(-real[::2], labels[::2])
    encoded = insert_encoded(z, posterior, 0.5)

    assert torch.equal(encoded[1::2], z[1::2])
    assert not torch.isclose(encoded[::2], insert_encoded(z, of_other_images, 0.5)[::2]).any()
    # Scaled as all latents of this run are, from the same standard normal numbers.
    assert torch.allclose(encoded[::2], 0.5 * reparameterize(posterior, z[::2] / 0.5))
    assert kl_from_prior(posterior).shape == (8,)


@pytest.mark.slow
def test_real_images_are_reconstructed(tiny_config: MakeConfig) -> None:
    """Against less than half of the images' own variance, 0.44: what G makes depends on the encoded image."""
    data = bars()
    trainer = Trainer(tiny_config("encoder={weight: 40}", "lr={start: 0.003, end: 0.003}"), data, "cpu")

    stats = [{name: float(value) for name, value in trainer.step().items()} for _ in range(300)]

    late = float(np.mean([row["recon_loss"] for row in stats[-50:]]))
    assert late < 0.2
    assert all(row["kl"] > 0 for row in stats)
    spread = average_pixels(torch.from_numpy(data.batch(np.arange(256))[0])).var(dim=0, unbiased=False).mean().item()
    assert spread == pytest.approx(0.44, abs=0.01)


@pytest.mark.parametrize("adversarial", ["false", "true"])
def test_the_discriminator_does_not_train_the_encoder(
    tiny_config: MakeConfig, tiny_data: Dataset, adversarial: str
) -> None:
    """Without a weight of the reconstruction, no gradient is left."""
    trainer = Trainer(tiny_config(f"encoder={{weight: 0, adversarial: {adversarial}}}"), tiny_data, "cpu")
    assert trainer.learners.encoder is not None
    before = [w.clone() for w in trainer.learners.encoder.network.parameters()]

    trainer.step()

    for old, new in zip(before, trainer.learners.encoder.network.parameters()):
        assert torch.equal(old, new)


@pytest.mark.parametrize("adversarial", [False, True])
def test_d_sees_encoded_images_only_if_asked(
    tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch, adversarial: bool
) -> None:
    def train(encoded: float) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Train G and D on latents of which those that were read are all the same; return their weights."""
        trainer = Trainer(tiny_config(f"encoder={{weight: 0, adversarial: {adversarial}}}"), tiny_data, "cpu")
        real, labels = trainer.inputs().real_batch()
        z = trainer.inputs().latents(0)
        z[::2] = encoded
        monkeypatch.setattr(updates, "insert_encoded", lambda *_: z)
        # Each starts from the same networks: what D learned would change G's gradients.
        start = copy.deepcopy(trainer.learners)
        updates.update_discriminator(trainer.learners, trainer.inputs(), real.clone(), labels)
        updates.update_generator(start, trainer.inputs(), real, labels)
        return list(trainer.learners.D.parameters()), list(start.G.parameters())

    for one, other in zip(train(0.5), train(-3.0)):
        assert all(torch.equal(a, b) for a, b in zip(one, other)) is not adversarial


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
