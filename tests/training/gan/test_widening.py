"""A wider network that begins as a narrower one."""

from __future__ import annotations

import pytest
import torch

from models.network_config import GeneratorConfig, ResNetConfig
from models.networks import build_generator
from training.gan.widening import load_widened


def build(widths: tuple[int, ...], seed: int, group: int = 0) -> torch.nn.Module:
    """Return a generator for 8x8 pixels whose last convolutions are not zero, as after some training."""
    torch.manual_seed(seed)
    network = ResNetConfig(base=4, widths=widths, blocks=1, group=group)
    generator = build_generator(GeneratorConfig(z_dim=8, num_classes=3, shape=(3, 8, 8), network=network))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return generator


@pytest.mark.parametrize("widths", [(6, 4), (8, 4), (8, 7), (6, 9)])
def test_a_widened_generator_makes_the_same_images(widths: tuple[int, ...]) -> None:
    narrow, wide = build((6, 4), 1), build(widths, 2)

    assert load_widened(wide, narrow.state_dict()) == (widths != (6, 4))

    z, class_weights = torch.randn(5, 8), torch.eye(3)[[0, 1, 2, 0, 1]]
    torch.testing.assert_close(wide(z, class_weights), narrow(z, class_weights), rtol=1e-4, atol=1e-5)


def test_every_weight_of_a_widened_generator_learns() -> None:
    wide = build((8, 7), 2)
    load_widened(wide, build((6, 4), 1).state_dict())
    optimizer = torch.optim.SGD(wide.parameters(), lr=0.1)

    for _ in range(2):
        optimizer.zero_grad()
        wide(torch.randn(5, 8), torch.eye(3)[[0, 1, 2, 0, 1]]).square().mean().backward()
        optimizer.step()

    gradients = {name: p.grad for name, p in wide.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None or (gradient == 0).all()]
    out = gradients["out.weight"]
    assert out is not None and (out[:, 4:] != 0).any()


@pytest.mark.parametrize(("widths", "group"), [((5, 4), 0), ((8, 4, 4), 0), ((6, 4), 2)])
def test_another_network_is_refused_and_nothing_is_loaded(widths: tuple[int, ...], group: int) -> None:
    narrow = build((6, 4), 1)
    side = 4 * 2 ** (len(widths) - 1)
    network = ResNetConfig(base=4, widths=widths, blocks=1, group=group)
    other = build_generator(GeneratorConfig(z_dim=8, num_classes=3, shape=(3, side, side), network=network))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}

    with pytest.raises(RuntimeError, match=r"has other layers|does not fit into"):
        load_widened(other, narrow.state_dict())

    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())
