"""A continuous label: values that are near have embeddings that are near, and training keeps them so."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.errors import InputError
from training.config import Config
from training.data.dataset import Dataset
from training.data.label_scale import LabelScale
from training.data.labels import LabelFactor
from training.gan import value_embedding
from training.gan.trainer import Trainer
from training.runs import ancestry

SCALE = LabelScale(0.0, 1.0, 20)


@pytest.fixture(scope="module")
def data(tiny_data: Dataset) -> Dataset:
    """Images whose brightness is their value."""
    values = np.random.RandomState(0).random_sample(len(tiny_data))
    images = np.broadcast_to(np.rint(values * 255)[:, None, None, None], tiny_data.images.shape).astype(np.uint8)
    return dataclasses.replace(
        tiny_data,
        images=images,
        labels=SCALE.place(values),
        class_names=SCALE.names,
        factors=(LabelFactor("value", SCALE.names),),
        has_continuous_label=True,
    )


def test_the_similarity_of_two_values_is_a_gaussian_of_their_distance() -> None:
    waves = value_embedding.make_waves(256, 101)

    similarity = waves.T @ waves / 256

    distance = torch.linspace(0, 1, 101)[:, None] - torch.linspace(0, 1, 101)
    torch.testing.assert_close(similarity, (-0.5 * (distance / value_embedding.LENGTH) ** 2).exp(), atol=0.05, rtol=0)


def test_training_keeps_the_embeddings_as_they_are(tiny_config: Callable[..., Config], data: Dataset) -> None:
    trainer = Trainer(tiny_config("data.continuous_label=value"), data, "cpu")
    networks = (trainer.learners.G, trainer.learners.D, trainer.learners.ema)

    for _ in range(3):
        trainer.step()

    for network in networks:
        weight = dict(network.named_parameters())["embed.weight"]
        assert torch.equal(weight, value_embedding.make_waves(4, 21))


def test_a_generator_learns_the_brightness_of_values_that_it_has_never_seen(
    tiny_config: Callable[..., Config], data: Dataset
) -> None:
    assert data.labels is not None
    seen = data.take(np.flatnonzero((data.labels < 14) | (data.labels > 16)))
    settings = ("lr={start: 4e-3, end: 4e-3}", "ema_halflife_kimg={start: 0, end: 0}", "gamma={start: 0.1, end: 0.1}")
    trainer = Trainer(tiny_config("data.continuous_label=value", "schedule_kimg=6", *settings), seen, "cpu")
    while trainer.images_shown < 6000:
        trainer.step()

    z = torch.randn(21, 16, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.eye(21)[:, None].expand(21, 16, 21)
    with torch.no_grad():
        made = trainer.learners.ema(z.flatten(0, 1), weights.flatten(0, 1)).clamp(-1, 1)
    brightness = made.unflatten(0, (21, 16)).flatten(1).mean(1).numpy() / 2 + 0.5

    wanted = np.linspace(0, 1, 21)
    assert math.sqrt(np.mean((brightness - wanted) ** 2)) < 0.1
    assert abs(brightness[15] - 0.75) < 0.1


def test_networks_that_learnt_each_value_for_itself_begin_with_waves(
    tiny_config: Callable[..., Config], data: Dataset
) -> None:
    source = Trainer(tiny_config(), dataclasses.replace(data, has_continuous_label=False), "cpu")
    trainer = Trainer(tiny_config("data.continuous_label=value"), data, "cpu")
    source.step()

    anew = trainer.start_from(source.state())
    trainer.step()

    assert "the generator's embedding of the classes" in anew and "the discriminator's optimiser" in anew
    for network in (trainer.learners.G, trainer.learners.D, trainer.learners.ema):
        weight = dict(network.named_parameters())["embed.weight"]
        assert torch.equal(weight, value_embedding.make_waves(4, 21))


def test_a_published_training_state_of_a_continuous_label_is_kept(
    tiny_config: Callable[..., Config], data: Dataset
) -> None:
    config = tiny_config("data.continuous_label=value")
    # Its weights are rounded.
    published = ancestry.unpack(ancestry.pack(Trainer(config, data, "cpu").state()))

    anew = Trainer(config, data, "cpu").start_from(published)

    assert anew == ["the generator's optimiser", "the discriminator's optimiser"]


def test_networks_without_such_an_embedding_are_refused(tiny_config: Callable[..., Config]) -> None:
    with pytest.raises(InputError, match=r"data\.continuous_label needs .* of kind resnet"):
        tiny_config("data.continuous_label=value", "discriminator={kind: mlp, width: 8, layers: 1}")
