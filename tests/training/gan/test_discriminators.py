"""Discriminators: shapes, refused configurations, and which images a logit depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from training.discriminator_config import DiscriminatorConfig, DiscriminatorNetworkConfig
from training.gan.discriminators import MinibatchStd, build_discriminator

Shape = tuple[int, int, int]

RESNET = {"kind": "resnet", "base": 4, "widths": [8, 6, 4], "blocks": 2, "label_dim": 5}
GROUPED = {"kind": "resnet", "base": 4, "widths": [8, 6, 4], "label_dim": 5, "group": 4}
MLP = {"kind": "mlp", "width": 16, "layers": 2}
DCGAN = {"kind": "dcgan", "base": 4, "widths": [8, 6]}
ALL = [
    (RESNET, (1, 16, 16)),
    (RESNET, (3, 16, 16)),
    (GROUPED, (3, 16, 16)),
    (MLP, (2, 1, 1)),
    (DCGAN, (1, 16, 16)),
    (DCGAN, (3, 16, 16)),
    (RESNET | {"base": [4, 6]}, (3, 16, 24)),
    (DCGAN | {"base": [6, 4]}, (1, 24, 16)),
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def make_discriminator(network: dict[str, Any], shape: Shape, num_classes: int = 0, codes: int = 0) -> nn.Module:
    """A discriminator with no weight at its initial zero."""
    parsed: Any = TypeAdapter(DiscriminatorNetworkConfig).validate_python(network)
    config = DiscriminatorConfig(num_classes=num_classes, shape=shape, infogan_codes=codes, network=parsed)
    discriminator = build_discriminator(config)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return discriminator.eval()


def inputs(shape: Shape, num_classes: int, n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(n, *shape), torch.arange(n) % max(num_classes, 1)


@pytest.mark.parametrize("num_classes", [0, 1, 3])
@pytest.mark.parametrize(("network", "shape"), ALL)
def test_logits_and_codes_have_the_configured_shapes(network: dict[str, Any], shape: Shape, num_classes: int) -> None:
    for codes in (0, 2):
        output = make_discriminator(network, shape, num_classes, codes)(*inputs(shape, num_classes))

        assert output.logits.shape == (6,) and output.logits.dtype == torch.float32
        assert output.codes.shape == (6, codes)


@pytest.mark.parametrize(("network", "shape"), ALL)
def test_a_logit_depends_on_the_label_where_there_are_classes(network: dict[str, Any], shape: Shape) -> None:
    images, _ = inputs(shape, 0)
    zeros, twos = torch.zeros(6, dtype=torch.int64), torch.full((6,), 2)
    for num_classes in (0, 3):
        D = make_discriminator(network, shape, num_classes)
        assert torch.equal(D(images, zeros).logits, D(images, twos).logits) == (num_classes == 0)


@pytest.mark.parametrize(("network", "shape"), ALL)
def test_a_logit_does_not_depend_on_other_images(network: dict[str, Any], shape: Shape) -> None:
    D = make_discriminator(network, shape, 3)
    images, label = inputs(shape, 3)
    other_label = label.clone()
    other_label[1:] = 0

    logits = D(torch.cat([images[:1], 5 * images[1:]]), other_label).logits

    assert torch.equal(logits[0], D(images, label).logits[0])


def test_minibatch_std_reaches_all_images_of_the_group_and_no_others() -> None:
    D = make_discriminator({**RESNET, "minibatch_group": 2}, (1, 16, 16))
    images, label = inputs((1, 16, 16), 0, n=4)
    logits = D(images, label).logits

    changed = D(torch.cat([images[:1], 3 * images[1:2], images[2:]]), label).logits

    assert changed[0] != logits[0]
    assert torch.equal(changed[2:], logits[2:])


def test_minibatch_std_is_the_standard_deviation_over_the_group() -> None:
    images = torch.randn(6, 3, 4, 4)

    output = MinibatchStd(3)(images)

    assert torch.equal(output[:, :3], images)
    for start in (0, 3):
        std = images[start : start + 3].std(dim=0, unbiased=False).mean()
        assert torch.allclose(output[start : start + 3, 3], std, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (RESNET, (1, 28, 28), r"make 16x16 images .* but the data has 28x28"),
        (DCGAN, (1, 32, 32), r"make 16x16 images .* but the data has 32x32"),
        (MLP, (1, 16, 16), r"takes data of shape \(dim, 1, 1\)"),
    ],
)
def test_a_network_that_does_not_fit_the_images_is_refused(network: dict[str, Any], shape: Shape, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_discriminator(network, shape)
