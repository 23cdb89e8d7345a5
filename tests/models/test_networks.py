"""Generators: shapes, refused configurations, and that no image depends on another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from models.network_config import DCGANConfig, GeneratorConfig, MLPConfig, NetworkConfig, PriorConfig, ResNetConfig
from models.networks import build_generator, one_hot

Network = ResNetConfig | MLPConfig | DCGANConfig

RESNET = ResNetConfig(base=4, widths=(8, 6, 4), blocks=2, label_dim=5)
DENSE = ResNetConfig(base=4, widths=(8, 6, 4), label_dim=5, input_layer="dense")
GROUPED = ResNetConfig(base=4, widths=(8, 6, 4), label_dim=5, group=4)
PRIOR = ResNetConfig(base=4, widths=(8, 6, 4), label_dim=5, prior=PriorConfig(width=9, steps=3))
MLP = MLPConfig(width=16, layers=2)
DCGAN = DCGANConfig(base=4, widths=(8, 6))
KINDS = [(RESNET, (1, 16, 16)), (RESNET, (3, 16, 16)), (GROUPED, (3, 16, 16)), (DENSE, (1, 16, 16)), (MLP, (2, 1, 1))]
WIDE = RESNET.model_copy(update={"base": (4, 6)})
KINDS += [(PRIOR, (1, 16, 16)), (WIDE, (3, 16, 24))]
ALL = [*KINDS, (DCGAN, (1, 16, 16)), (DCGAN.model_copy(update={"base": (6, 4)}), (3, 24, 16))]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def inputs(n: int, z_dim: int, num_classes: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, z_dim), one_hot(torch.arange(n) % max(num_classes, 1), num_classes)


def randomize(module: nn.Module) -> nn.Module:
    """Change all weights, so that none is at its initial zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def make_generator(
    network: Network, shape: tuple[int, int, int] = (1, 16, 16), z_dim: int = 7, num_classes: int = 3
) -> nn.Module:
    return build_generator(GeneratorConfig(z_dim=z_dim, num_classes=num_classes, shape=shape, network=network))


@pytest.mark.parametrize("num_classes", [0, 1, 3])
@pytest.mark.parametrize(("network", "shape"), ALL)
def test_images_have_the_configured_shape(network: Network, shape: tuple[int, int, int], num_classes: int) -> None:
    G = make_generator(network, shape, num_classes=num_classes)

    images = G(*inputs(5, 7, num_classes))

    assert images.shape == (5, *shape) and images.dtype == torch.float32


@pytest.mark.parametrize(("network", "shape"), ALL)
def test_an_image_depends_on_its_label_where_there_are_classes(network: Network, shape: tuple[int, int, int]) -> None:
    z = torch.randn(4, 7)
    zeros, twos = torch.zeros(4, dtype=torch.int64), torch.full((4,), 2)
    for num_classes in (0, 3):
        G = randomize(make_generator(network, shape, num_classes=num_classes))
        images = [G(z, one_hot(labels, num_classes)) for labels in (zeros, twos)]
        assert torch.equal(*images) == (num_classes == 0)


@pytest.mark.parametrize(("network", "shape"), ALL)
def test_an_image_does_not_depend_on_its_neighbours(network: Network, shape: tuple[int, int, int]) -> None:
    G = randomize(make_generator(network, shape))
    z, class_weights = inputs(6, 7, 3)
    images = G(z, class_weights)
    other_z, other_weights = z.clone(), class_weights.clone()
    other_z[1:] = 10 * torch.randn(5, 7)
    other_weights[1:] = 0.5

    assert torch.equal(G(other_z, other_weights)[0], images[0])


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize(("network", "shape"), KINDS)
def test_a_generator_has_no_training_mode_and_no_noise(
    network: Network, shape: tuple[int, int, int], num_classes: int
) -> None:
    G = randomize(make_generator(network, shape, num_classes=num_classes))
    z, class_weights = inputs(4, 7, num_classes)
    state = torch.random.get_rng_state()
    images = G(z, class_weights)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(G.train()(z, class_weights), images)
    assert not list(G.buffers())


def test_equal_seeds_build_equal_networks() -> None:
    config = GeneratorConfig(z_dim=7, num_classes=3, shape=(1, 16, 16), network=RESNET)

    def build(seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        return dict(build_generator(config).state_dict())

    first, again, other = build(1), build(1), build(2)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_residual_branches_start_at_zero() -> None:
    """Fixup: an untrained generator is its up-sampling path alone, whatever its depth."""
    G = make_generator(RESNET)
    branches = {name: p for name, p in G.named_parameters() if name.endswith("conv2.weight")}
    assert len(branches) == 2 * 3
    assert not any(bool(p.any()) for p in branches.values())
    assert all(bool(p.any()) for name, p in G.named_parameters() if name.endswith("conv1.weight"))


def test_each_level_doubles_the_side() -> None:
    for levels in (1, 2, 4):
        side = 3 * 2 ** (levels - 1)
        network = ResNetConfig(base=3, widths=(4,) * levels)
        G = build_generator(GeneratorConfig(z_dim=5, num_classes=0, shape=(1, side, side), network=network))
        assert G(*inputs(2, 5, 0)).shape == (2, 1, side, side)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (RESNET, (1, 28, 28), r"make 16x16 images .* but the data has 28x28"),
        (RESNET, (1, 16, 8), r"make 16x16 images .* but the data has 8x16"),
        (DCGAN, (1, 32, 32), r"make 16x16 images .* but the data has 32x32"),
        (MLP, (1, 16, 16), r"takes data of shape \(dim, 1, 1\)"),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_refused(
    network: Network, shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        GeneratorConfig(z_dim=8, num_classes=0, shape=shape, network=network)


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "transformer"},
        {"base": 4, "widths": [8]},
        {"kind": "resnet", "base": 1, "widths": [8]},
        {"kind": "resnet", "base": 4, "widths": []},
        {"kind": "resnet", "base": 4, "widths": [8], "blocks": 0},
        {"kind": "resnet", "base": 4, "widths": [8], "width": 8},
        {"kind": "resnet", "base": 4, "widths": [8, 6], "group": 8},
        {"kind": "resnet", "base": 4, "widths": [8], "minibatch_group": 4},
        {"kind": "mlp", "width": 0, "layers": 1},
        pytest.param(
            {"kind": "resnet", "base": 4, "widths": [8, 0]},
        ),
        pytest.param(
            {"kind": "resnet", "base": 4, "widths": [-8]},
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(network: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[Any](NetworkConfig).validate_python(network)


@pytest.mark.parametrize(("network", "shape"), ALL)
def test_a_config_comes_back_from_json(network: Network, shape: tuple[int, int, int]) -> None:
    config = GeneratorConfig(z_dim=7, num_classes=3, shape=shape, network=network)
    assert GeneratorConfig.model_validate_json(config.model_dump_json()) == config
    assert GeneratorConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize(("network", "shape"), ALL)
@pytest.mark.filterwarnings(r"ignore:.*torch\.jit.*:DeprecationWarning")
def test_every_generator_can_be_scripted(network: Network, shape: tuple[int, int, int], num_classes: int) -> None:
    G = randomize(make_generator(network, shape, num_classes=num_classes))
    z, class_weights = inputs(4, 7, num_classes)
    scripted = torch.jit.script(G)
    torch.testing.assert_close(scripted(z, class_weights), G(z, class_weights))


def test_a_grouped_blocks_branch_starts_at_zero_and_is_far_smaller() -> None:
    plain, grouped = (make_generator(ResNetConfig(base=4, widths=(64,) * 3, group=group)) for group in (0, 16))

    assert not any(bool(p.any()) for name, p in grouped.named_parameters() if name.endswith("conv3.weight"))
    sizes = [sum(p.numel() for p in network.parameters()) for network in (plain, grouped)]
    assert sizes[1] < 0.6 * sizes[0]


def test_dcgan_updates_its_running_statistics_only_in_training() -> None:
    G = make_generator(DCGAN)
    z, class_weights = inputs(6, 7, 3)

    before = G.eval()(z, class_weights)
    assert torch.equal(G(z, class_weights), before)
    G.train()(z, class_weights)

    assert not torch.equal(G.eval()(z, class_weights), before)


def test_a_new_prior_is_the_identity() -> None:
    plain = RESNET.model_copy(update={"blocks": 1})
    G = make_generator(plain.model_copy(update={"prior": PriorConfig()}))
    without = make_generator(plain)
    without.load_state_dict({name: w for name, w in G.state_dict().items() if not name.startswith("prior.")})

    z, class_weights = inputs(5, 7, 3)
    assert torch.equal(G(z, class_weights), without(z, class_weights))


def test_a_prior_moves_latents_by_small_steps_along_its_velocity() -> None:
    G = randomize(make_generator(PRIOR))
    prior: Any = G.prior
    z, class_weights = inputs(5, 7, 3)

    expected = z
    for time in prior.time:
        expected = expected + prior.velocity(expected, class_weights, time) / 3

    assert torch.equal(prior(z, class_weights), expected)
    assert (expected - z).abs().max() > 0.01
