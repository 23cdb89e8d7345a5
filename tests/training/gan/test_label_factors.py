"""Independent labels: classes that share a value share what the networks know of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.errors import InputError
from models.networks import linear
from training.config import Config
from training.data.dataset import Dataset
from training.data.labels import LabelFactor
from training.gan import label_factors
from training.gan.trainer import Trainer

FACTORS = (LabelFactor("shape", ("none", "flat", "upright")), LabelFactor("ink", ("light", "dark")))
SIZES = (3, 2)
PROJECTED = "projected={scale: 2, width: 4, weight: 0.1}"


@pytest.fixture(scope="module")
def data(tiny_data: Dataset) -> Dataset:
    """`tiny_data` with a second label; no image is upright and dark."""
    assert tiny_data.labels is not None
    ink = (np.arange(len(tiny_data)) // 3) % 2 * (tiny_data.labels != 2)
    names = tuple(f"{shape} {ink}" for shape in FACTORS[0].values for ink in FACTORS[1].values)
    return dataclasses.replace(tiny_data, labels=tiny_data.labels * 2 + ink, class_names=names, factors=FACTORS)


class Embedding(nn.Module):
    """A network that has the layer in question and nothing else."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.embed = linear(6, rows)


def is_tied(weight: Tensor) -> bool:
    """Tell whether classes of one shape have equal first rows, and classes of one ink equal other rows."""
    shape, ink = weight.reshape(len(weight), *SIZES).tensor_split(2)
    return bool((shape == shape[:, :, :1]).all() and (ink == ink[:, :1]).all())


@pytest.mark.parametrize("rows", [4, 5])
def test_it_is_an_embedding_for_each_label_concatenated(rows: int) -> None:
    torch.manual_seed(0)
    network = Embedding(rows)
    label_factors.tie(network, SIZES)
    shape, ink = (nn.Parameter(part) for part in start_of(network.embed.weight))
    classes = torch.tensor([0, 3, 3, 4])
    target = torch.randn(4, rows)

    embedded = (network.embed.weight.T[classes], torch.cat([shape.T[classes // 2], ink.T[classes % 2]], dim=1))
    torch.stack([(one - target).square().sum() for one in embedded]).sum().backward()  # type: ignore[no-untyped-call]

    assert shape.grad is not None and ink.grad is not None and network.embed.weight.grad is not None
    assert is_tied(network.embed.weight) and is_tied(network.embed.weight.grad)
    for expected, found in zip((shape.grad, ink.grad), start_of(network.embed.weight.grad)):
        torch.testing.assert_close(found, expected)


def start_of(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of each shape, (rows, 3), and of each ink, (other rows, 2)."""
    shape, ink = weight.detach().clone().reshape(len(weight), *SIZES).tensor_split(2)
    return shape[:, :, 0], ink[:, 0]


def test_a_combination_that_no_image_has_is_learnt_from_its_values(
    tiny_config: Callable[..., Config], data: Dataset
) -> None:
    columns = "data.label_columns=[{column: shape}, {column: ink}]"
    trainer = Trainer(tiny_config(columns, "data.independent_labels=true"), data, "cpu")
    unseen = data.class_names.index("upright dark")
    networks = (trainer.learners.G, trainer.learners.D, trainer.learners.ema)
    embeddings = [dict(network.named_parameters())["embed.weight"] for network in networks]
    before = [weight[:, unseen].clone() for weight in embeddings]

    for _ in range(4):
        trainer.step()

    for weight, start in zip(embeddings, before):
        assert is_tied(weight)
        shape, ink = (weight[:, unseen] - start).tensor_split(2)
        assert shape.all() and ink.all()


def find_all_embeddings(trainer: Trainer) -> list[Tensor]:
    """Return the weights of the generator's, its average's, the discriminator's and the projected heads' embeddings."""
    networks = (trainer.learners.ema, *(learner.network for learner in trainer.learners.by_name().values()))
    return [embed.weight for network in networks for embed in label_factors.find_embeddings(network)]


def test_networks_that_learnt_each_class_for_itself_are_tied_anew(
    tiny_config: Callable[..., Config], data: Dataset
) -> None:
    columns = "data.label_columns=[{column: shape}, {column: ink}]"
    source = Trainer(tiny_config(columns, PROJECTED), data, "cpu")
    source.step()
    trainer, again = (
        Trainer(tiny_config(columns, PROJECTED, "data.independent_labels=true"), data, "cpu") for _ in range(2)
    )

    anew = trainer.start_from(source.state())
    trainer.step()
    kept = again.start_from(trainer.state())

    assert anew == [
        "the generator's embedding of the classes",
        "the generator's optimiser",
        "the discriminator's weights of the classes",
        "the discriminator's optimiser",
        "the projected discriminator's weights of the classes",
        "the projected discriminator's optimiser",
    ]
    embeddings = find_all_embeddings(trainer)
    assert len(embeddings) == 7 and all(map(is_tied, embeddings))
    # What is tied already is taken over as it is.
    assert kept == []
    assert all(map(torch.equal, embeddings, find_all_embeddings(again)))


def test_networks_without_such_an_embedding_are_refused(tiny_config: Callable[..., Config]) -> None:
    columns = "data.label_columns=[{column: shape}, {column: ink}]"

    with pytest.raises(InputError, match=r"data\.independent_labels needs .* of kind resnet"):
        tiny_config(columns, "data.independent_labels=true", "discriminator={kind: mlp, width: 8, layers: 1}")
