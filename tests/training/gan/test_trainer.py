"""A training step: what it changes, and that it depends on nothing but the state."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.networks import one_hot
from training.config import Config
from training.data.dataset import Dataset
from training.gan.trainer import Trainer
from training.gan.updates import STATS, update_discriminator, update_generator
from training.runs import checkpoint

MakeConfig = Callable[..., Config]

DCGAN = (
    "generator={kind: dcgan, base: 2, widths: [6, 4]}",
    "discriminator={kind: dcgan, base: 2, widths: [6, 4]}",
    "objective=classic",
    "gamma={start: 0, end: 0}",
    "beta1=0.5",
)


class Recording(Dataset):
    """A data set that keeps the indices it was asked for."""

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        self.__dict__.setdefault("shown", []).extend(indices.tolist())
        return super().batch(indices)


def make_recording(count: int) -> Recording:
    return Recording("counted", np.zeros((count, 8, 8, 1), np.uint8), np.zeros(count, np.int64), ("only",))


def shown(config: Config, data: Recording, steps: int) -> list[int]:
    """The indices of the images that so many real steps show."""
    trainer = Trainer(config, data, "cpu")
    for _ in range(steps):
        trainer.step()
    seen: list[int] = data.__dict__.pop("shown")
    return seen


def step(trainer: Trainer) -> dict[str, float]:
    """One step's results as numbers."""
    return {name: float(value) for name, value in trainer.step().items()}


def optimizers(trainer: Trainer) -> tuple[torch.optim.Adam, torch.optim.Adam]:
    return trainer.learners.generator.optimizer, trainer.learners.discriminator.optimizer


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, through dictionaries and lists."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_each_epoch_shows_every_image_once_in_a_new_order(tiny_config: MakeConfig) -> None:
    seen = shown(tiny_config("batch=4"), make_recording(10), 10)

    epochs = [seen[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_of_images_does_not_depend_on_the_batch(tiny_config: MakeConfig) -> None:
    data = make_recording(10)

    by_four = shown(tiny_config("batch=4"), data, 10)

    assert shown(tiny_config("batch=5"), data, 8) == by_four
    # More than three epochs in one batch.
    assert shown(tiny_config("batch=40"), data, 1) == by_four


def test_the_order_of_images_depends_on_the_seed(tiny_config: MakeConfig) -> None:
    data = make_recording(10)

    assert shown(tiny_config("batch=10", "seed=1"), data, 1) != shown(tiny_config("batch=10", "seed=2"), data, 1)


def test_equal_configurations_take_the_same_steps_bit_for_bit(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    one, other = Trainer(tiny_config(), tiny_data, "cpu"), Trainer(tiny_config(), tiny_data, "cpu")

    for seed in range(4):
        # Other code may use the global generators.
        torch.manual_seed(seed)
        np.random.seed(seed)
        stats = step(one)
        torch.manual_seed(100)
        torch.randn(3)
        assert stats == step(other)

    assert same(one.state(), other.state())


def test_a_trainer_does_not_use_the_global_generators(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    torch.manual_seed(5)
    np.random.seed(5)

    Trainer(tiny_config(), tiny_data, "cpu").step()

    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert np.random.random_sample() == np.random.RandomState(5).random_sample()


def test_another_seed_begins_with_other_weights(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    one, other = (Trainer(tiny_config(f"seed={seed}"), tiny_data, "cpu") for seed in (1, 2))

    assert not same(weights(one.learners.G), weights(other.learners.G))
    assert not same(weights(one.learners.D), weights(other.learners.D))


@pytest.mark.parametrize("settings", ["data.mirror=true", "data.class_sampling_power=0.5", "encoder={}"])
def test_a_restored_trainer_takes_the_same_steps(
    settings: str, tiny_config: MakeConfig, tiny_data: Dataset, tmp_path: Path
) -> None:
    config = tiny_config(settings)
    whole = Trainer(config, tiny_data, "cpu")
    for _ in range(3):
        whole.step()
    saved = checkpoint.save(tmp_path, whole.images_shown, whole.state())

    resumed = Trainer(config, tiny_data, "cpu")
    resumed.load_state(checkpoint.load(saved))

    assert resumed.images_shown == 48
    # 16 steps are an epoch: the order of the next one is needed, too.
    for _ in range(15):
        assert step(whole) == step(resumed)
    assert same(whole.state(), resumed.state())


def test_a_step_counts_its_images_and_returns_all_stats(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(), tiny_data, "cpu")

    stats = step(trainer)

    assert trainer.images_shown == 16
    assert stats.keys() == set(STATS)
    assert all(math.isfinite(value) for value in stats.values())
    assert all(0 <= stats[name] <= 1 for name in ("acc_real", "acc_fake", "acc_pair"))


def test_the_generators_update_changes_the_generator_alone(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(), tiny_data, "cpu")
    d, g, ema = weights(trainer.learners.D), weights(trainer.learners.G), weights(trainer.learners.ema)

    update_generator(trainer.learners, trainer.inputs(), *trainer.inputs().real_batch())

    assert same(weights(trainer.learners.D), d)
    assert all(p.grad is None for p in trainer.learners.D.parameters())
    assert not same(weights(trainer.learners.G), g)
    assert same(weights(trainer.learners.ema), ema)


def test_the_discriminators_update_changes_the_discriminator_alone(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(), tiny_data, "cpu")
    d, g, ema = weights(trainer.learners.D), weights(trainer.learners.G), weights(trainer.learners.ema)

    update_discriminator(trainer.learners, trainer.inputs(), *trainer.inputs().real_batch())

    assert not same(weights(trainer.learners.D), d)
    assert same(weights(trainer.learners.G), g)
    assert all(p.grad is None for p in trainer.learners.G.parameters())
    assert same(weights(trainer.learners.ema), ema)


def test_a_step_trains_every_weight_of_both_networks(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(), tiny_data, "cpu")
    d, g = weights(trainer.learners.D), weights(trainer.learners.G)

    # The last convolutions of residual blocks begin at zero, so what is before them moves from the second step on.
    trainer.step()
    trainer.step()

    assert [name for name, value in weights(trainer.learners.D).items() if torch.equal(value, d[name])] == []
    assert [name for name, value in weights(trainer.learners.G).items() if torch.equal(value, g[name])] == []


def test_the_generator_follows_the_gradient_of_its_relativistic_loss(
    tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    trainer = Trainer(tiny_config(), tiny_data, "cpu")
    real, labels = trainer.inputs().real_batch()
    fake = trainer.learners.G(trainer.inputs().latents(0), one_hot(labels, tiny_data.num_classes))
    loss = F.softplus(trainer.learners.D(real, labels).logits - trainer.learners.D(fake, labels).logits).mean()
    expected = torch.autograd.grad(loss, list(trainer.learners.G.parameters()))

    stats, _ = update_generator(trainer.learners, trainer.inputs(), real, labels)

    norm = torch.cat([gradient.flatten() for gradient in expected]).norm().item()
    assert dict(stats) == pytest.approx({"loss_G": loss.item(), "grad_norm_G": norm}, rel=1e-4)
    for parameter, gradient in zip(trainer.learners.G.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-7)


def test_the_discriminator_follows_its_loss_plus_half_gamma_of_both_penalties(
    tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    trainer = Trainer(tiny_config("gamma={start: 3, end: 3}"), tiny_data, "cpu")
    real, labels = trainer.inputs().real_batch()
    x = real.clone().requires_grad_()
    y = (
        trainer.learners.G(trainer.inputs().latents(1), one_hot(labels, tiny_data.num_classes))
        .detach()
        .requires_grad_()
    )
    loss = F.softplus(trainer.learners.D(y, labels).logits - trainer.learners.D(x, labels).logits).mean()
    (by_x,) = torch.autograd.grad(trainer.learners.D(x, labels).logits.sum(), x, create_graph=True)
    (by_y,) = torch.autograd.grad(trainer.learners.D(y, labels).logits.sum(), y, create_graph=True)
    r1, r2 = by_x.square().sum() / 16, by_y.square().sum() / 16
    expected = torch.autograd.grad(loss + 1.5 * r1 + 1.5 * r2, list(trainer.learners.D.parameters()))

    stats = update_discriminator(trainer.learners, trainer.inputs(), real, labels)

    norm = torch.cat([gradient.flatten() for gradient in expected]).norm().item()
    expected_stats = {"loss_D": loss.item(), "grad_norm_D": norm, "loss_codes": 0, "r1": r1.item(), "r2": r2.item()}
    assert {name: value for name, value in stats.items() if name in expected_stats} == pytest.approx(
        expected_stats, rel=1e-4
    )
    for parameter, gradient in zip(trainer.learners.D.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_no_two_updates_share_their_latents(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(), tiny_data, "cpu")
    drawn = []
    for images_shown in (0, 16, 2**40):
        trainer.images_shown = images_shown
        drawn += [trainer.inputs().latents(0), trainer.inputs().latents(1)]

    rows = torch.cat(drawn)
    assert len({tuple(row) for row in rows.tolist()}) == len(rows) == 6 * 16
    assert abs(rows.mean().item()) < 0.2 and abs(rows.std().item() - 1) < 0.1


def test_learning_rate_and_betas_follow_their_schedules(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config("lr={start: 0.01, end: 0.001}", "schedule_kimg=0.032"), tiny_data, "cpu")
    seen = []
    for _ in range(4):
        trainer.step()
        groups = [
            optimizer.param_groups[0]
            for optimizer in (trainer.learners.generator.optimizer, trainer.learners.discriminator.optimizer)
        ]
        assert groups[0]["lr"] == groups[1]["lr"] and groups[0]["betas"] == groups[1]["betas"]
        seen.append((groups[0]["lr"], *groups[0]["betas"]))

    expected = [(0.01, 0.0, 0.9), (0.0055, 0.0, 0.945), (0.001, 0.0, 0.99), (0.001, 0.0, 0.99)]
    assert [value for row in seen for value in row] == pytest.approx([value for row in expected for value in row])


def test_the_generator_alone_learns_at_its_share_of_the_rate(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    config = tiny_config("generator_lr_share=0.25", "lr={start: 0.004, end: 0.004}", "encoder={}")
    trainer = Trainer(config, tiny_data, "cpu")

    trainer.step()

    assert trainer.learners.encoder is not None
    optimizers = (
        trainer.learners.generator.optimizer,
        trainer.learners.discriminator.optimizer,
        trainer.learners.encoder.optimizer,
    )
    assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers] == [0.001, 0.004, 0.004]


def test_the_generators_share_of_the_rate_follows_its_schedule(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    settings = ("lr={start: 0.004, end: 0.004}", "generator_lr_share={start: 0.25, end: 0.75}", "schedule_kimg=0.032")
    trainer = Trainer(tiny_config(*settings), tiny_data, "cpu")

    seen = []
    for _ in range(3):
        trainer.step()
        seen.append(
            [
                o.param_groups[0]["lr"]
                for o in (trainer.learners.generator.optimizer, trainer.learners.discriminator.optimizer)
            ]
        )

    assert seen == [pytest.approx([lr, 0.004]) for lr in (0.001, 0.002, 0.003)]


def test_a_frozen_generator_stays_while_the_others_learn(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config("freeze_generator_kimg=0.032", "batch=32", "encoder={}"), tiny_data, "cpu")
    assert trainer.learners.encoder is not None
    networks = (trainer.learners.G, trainer.learners.D, trainer.learners.encoder.network)
    before = [weights(network) for network in networks]

    trainer.step()
    assert [same(old, weights(network)) for old, network in zip(before, networks)] == [True, False, False]

    trainer.step()
    assert not same(before[0], weights(trainer.learners.G))


def test_the_average_moves_half_way_per_half_life(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    # Two batches a half-life, so each step keeps 2^-0.5 of the average.
    trainer = Trainer(tiny_config("ema_halflife_kimg={start: 0.032, end: 0.032}"), tiny_data, "cpu")
    expected = {name: value.double() for name, value in weights(trainer.learners.G).items()}

    for _ in range(3):
        trainer.step()
        for name, value in weights(trainer.learners.G).items():
            expected[name] = expected[name] * 2**-0.5 + value.double() * (1 - 2**-0.5)

    for name, value in trainer.learners.ema.state_dict().items():
        assert torch.allclose(value.double(), expected[name], atol=1e-6)
    assert not same(weights(trainer.learners.ema), weights(trainer.learners.G))


def test_with_a_half_life_of_0_the_average_is_the_generator(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config("ema_halflife_kimg={start: 0, end: 0}"), tiny_data, "cpu")
    trainer.step()

    assert same(weights(trainer.learners.ema), weights(trainer.learners.G))


def test_mirroring_flips_half_of_the_images_left_to_right_and_nothing_else(tiny_config: MakeConfig) -> None:
    images = np.arange(256 * 64, dtype=np.uint32).reshape(256, 8, 8, 1).astype(np.uint8)
    data = Dataset("ramps", images, np.arange(256, dtype=np.int64) % 3, ("a", "b", "c"))
    plain, mirrored = (
        Trainer(tiny_config("batch=256", f"data.mirror={mirror}"), data, "cpu").inputs().real_batch()
        for mirror in ("false", "true")
    )

    assert torch.equal(plain[1], mirrored[1])
    kept = (plain[0] == mirrored[0]).flatten(1).all(1)
    flipped = (plain[0].flip(3) == mirrored[0]).flatten(1).all(1)
    assert torch.equal(kept, ~flipped)
    # 256 fair coins: within five standard deviations.
    assert abs(int(flipped.sum()) - 128) < 40


def test_mirroring_leaves_the_data_set_as_it_was(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    before = tiny_data.images.copy()

    Trainer(tiny_config("data.mirror=true"), tiny_data, "cpu").step()

    assert np.array_equal(tiny_data.images, before)


def test_each_epoch_flips_other_images(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config("data.mirror=true", "batch=256"), tiny_data, "cpu")
    first = {image.tobytes() for image in trainer.inputs().real_batch()[0].numpy()}
    trainer.images_shown = 256

    second = {image.tobytes() for image in trainer.inputs().real_batch()[0].numpy()}

    assert 60 < len(first & second) < 196


def test_unlabelled_data_trains(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(), Dataset("plain", tiny_data.images), "cpu")

    assert all(math.isfinite(value) for value in step(trainer).values())


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("penalty_every=3",),
        ("precision=bfloat16",),
        ("augment={p: {start: 0.4, end: 0.6}}",),
        ("infogan_codes=2",),
        ("discriminator.minibatch_group=4", "generator.group=4"),
        ("projected={scale: 2, width: 4}", "encoder={}", "augment={p: 0.5}", "penalty_every=3"),
        DCGAN,
    ],
)
def test_every_switch_resumes_bit_for_bit(
    tiny_config: MakeConfig, tiny_data: Dataset, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    config = tiny_config("data.mirror=true", *settings)
    whole = Trainer(config, tiny_data, "cpu")
    # Stopped between two steps with penalties.
    for _ in range(4):
        whole.step()
    saved = checkpoint.save(tmp_path, whole.images_shown, whole.state())

    resumed = Trainer(config, tiny_data, "cpu")
    resumed.load_state(checkpoint.load(saved))

    for _ in range(4):
        assert step(whole) == step(resumed)
    assert same(whole.state(), resumed.state())


@pytest.mark.parametrize("with_parts", [False, True])
def test_a_state_has_the_keys_of_every_earlier_checkpoint(
    with_parts: bool, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    settings = ("encoder={}", "projected={scale: 2, width: 4}") if with_parts else ()

    state = Trainer(tiny_config(*settings), tiny_data, "cpu").state()

    assert state.keys() == {"images_shown", "G", "D", "ema", "optimizer_G", "optimizer_D", "encoder", "projected"}
    assert state["encoder"].keys() == ({"E", "optimizer_E"} if with_parts else set())
    assert state["projected"].keys() == ({"D", "optimizer_D"} if with_parts else set())


def test_lazy_penalties_have_the_same_total_weight(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    every, third = (Trainer(tiny_config(f"penalty_every={k}"), tiny_data, "cpu") for k in (1, 3))

    first, lazy = step(every), [step(third) for _ in range(6)]

    assert [stats["r1"] > 0 for stats in lazy] == [True, False, False] * 2
    assert [stats["r2"] > 0 for stats in lazy] == [True, False, False] * 2
    assert lazy[0]["r1"] == pytest.approx(3 * first["r1"])
    assert lazy[0]["r2"] == pytest.approx(3 * first["r2"], rel=1e-5)


def test_bfloat16_changes_the_convolutions_alone(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    exact, half = (Trainer(tiny_config(f"precision={p}"), tiny_data, "cpu") for p in ("float32", "bfloat16"))

    for _ in range(3):
        a, b = step(exact), step(half)

    assert a != b
    assert a == pytest.approx(b, rel=0.1, abs=0.05)
    state = half.state()
    floats = [
        *state["G"].values(),
        *state["ema"].values(),
        *(v["exp_avg_sq"] for v in state["optimizer_D"]["state"].values()),
    ]
    assert {value.dtype for value in floats} == {torch.float32}


def test_d_sees_each_image_augmented_in_four_ways(
    tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, augmented = (Trainer(tiny_config(f"augment={value}"), tiny_data, "cpu") for value in ("null", "{p: 0.8}"))
    seen: dict[int, list[Tensor]] = {0: [], 1: []}
    for k, trainer in enumerate((plain, augmented)):
        trainer.learners.D.register_forward_pre_hook(lambda _, inputs, k=k: seen[k].append(inputs[0].detach().clone()))
        trainer.step()

    real_for_g, fake_for_g, real_for_d, fake_for_d = seen[1]
    assert torch.equal(seen[0][0], seen[0][2])
    assert not torch.allclose(real_for_g, real_for_d)
    assert not any(torch.allclose(a, b) for a, b in zip(seen[0], seen[1]))
    assert len({view.shape for view in seen[1]}) == 1 and not torch.allclose(fake_for_g, fake_for_d)


def test_without_a_weight_no_penalty_is_computed(
    tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tiny_config("gamma={start: 0, end: 0}"), tiny_data, "cpu")
    monkeypatch.delattr(torch.autograd, "grad")

    stats = step(trainer)

    assert stats["r1"] == stats["r2"] == 0


@pytest.mark.slow
def test_d_learns_to_predict_the_codes(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    settings = ("infogan_codes=2", "infogan_weight=10", "lr={start: 0.005, end: 0.005}", "batch=64")
    trainer = Trainer(tiny_config(*settings), tiny_data, "cpu")

    losses = [step(trainer)["loss_codes"] for _ in range(100)]

    # At first half the variance of two standard normals: D knows nothing of them.
    assert np.mean(losses[:5]) == pytest.approx(1.0, rel=0.3)
    assert np.mean(losses[-5:]) < 0.5


def test_dcgans_average_has_the_running_statistics(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config(*DCGAN), tiny_data, "cpu")

    for _ in range(3):
        trainer.step()

    for average, running in zip(trainer.learners.ema.buffers(), trainer.learners.G.buffers(), strict=True):
        assert torch.equal(average, running)
    assert not trainer.learners.ema.training and trainer.learners.G.training


def test_the_probability_of_augmentation_follows_its_schedule(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    trainer = Trainer(tiny_config("augment={}", "schedule_kimg=0.064"), tiny_data, "cpu")

    seen = []
    for _ in range(6):
        seen.append(trainer.inputs().augment_p)
        trainer.step()

    assert seen == pytest.approx([0.3 * (1 - math.cos(math.pi * k / 4)) / 2 for k in range(5)] + [0.3])
    assert Trainer(tiny_config(), tiny_data, "cpu").inputs().augment_p == 0


def test_a_smaller_latent_deviation_scales_the_same_latents(tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    usual, smaller = (
        Trainer(tiny_config(f"latent_std={std}"), tiny_data, "cpu").inputs().latents(0) for std in (1.0, 0.5)
    )

    assert torch.equal(smaller, 0.5 * usual)


def test_rare_classes_are_shown_more_often_with_a_power_below_1(tiny_config: MakeConfig) -> None:
    """Of 250 images 200, 40 and 10 are of the three classes; their square roots are as 14.1, 6.3 and 3.2."""
    labels = np.repeat([0, 1, 2], [200, 40, 10])
    data = Recording("uneven", np.zeros((250, 8, 8, 1), np.uint8), labels, ("a", "b", "c"))

    as_they_are, rooted, equal = (
        np.bincount(labels[shown(tiny_config("batch=10", f"data.class_sampling_power={power}"), data, 25)])
        for power in (1, 0.5, 0)
    )

    assert as_they_are.tolist() == [200, 40, 10]
    assert rooted.tolist() == [150, 67, 33]
    assert equal.tolist() == [83, 84, 83]
