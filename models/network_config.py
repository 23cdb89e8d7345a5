"""Configurations of generators, as a manifest keeps them.

Importing this module does not load torch; models.networks builds the networks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AliasChoices, BeforeValidator, Field, model_validator
from typing_extensions import Self

from models.base import SWITCH, Frozen

# How much wider a bottleneck is inside.
EXPANSION = 2

Shape = tuple[int, int, int]
Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


def _read_base(value: Any) -> int | tuple[int, int]:
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise ValueError(f"must be one whole number, or [height, width], got {value!r}")
    if min(sides) < 2:
        raise ValueError(f"must be at least 2, got {value!r}")
    return sides[0] if sides[0] == sides[1] else sides


# One number where both are the same, so that one network has one text.
Base = Annotated[int | tuple[int, int], BeforeValidator(_read_base)]
_BASE_HELP = "side of the lowest resolution in pixels, or its [height, width]"


def scale_base(base: Base, doublings: int = 0) -> tuple[int, int]:
    """Return height and width of the lowest resolution, doubled some times."""
    height, width = base if isinstance(base, tuple) else (base, base)
    return height * 2**doublings, width * 2**doublings


def _check_size(base: Base, doublings: int, shape: Shape) -> None:
    height, width = scale_base(base, doublings)
    if shape[1:] != (height, width):
        text = list(base) if isinstance(base, tuple) else base
        raise ValueError(
            f"the networks make {width}x{height} images (base {text}, doubled {doublings} times), "
            f"but the data has {shape[2]}x{shape[1]}"
        )


class LevelShape(NamedTuple):
    """The feature maps of one level: how many units, and the rows and columns of each map."""

    units: int
    height: int
    width: int


class PyramidConfig(Frozen):
    """A pyramid of residual blocks.

    `widths` are channels per level, from the lowest resolution (`base` pixels a side, or [height, width]) upwards;
    each further level doubles the sides.
    """

    kind: Literal["resnet"] = "resnet"
    base: Base = Field(description=_BASE_HELP)
    widths: Widths = Field(description="channels per level, from the lowest resolution upwards")
    blocks: int = Field(default=1, ge=1, description="residual blocks per level")
    label_dim: int = Field(default=32, ge=1, description="size of the label embedding")
    group: int = Field(
        default=0,
        ge=0,
        description="0: blocks of two 3x3 convolutions; else R3GAN's bottlenecks with this many channels in a group",
    )

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        if self.group and any(EXPANSION * width % self.group for width in self.widths):
            raise ValueError(f"group {self.group} must divide twice each of the widths {list(self.widths)}")
        return self

    def check_size(self, shape: Shape) -> None:
        """Check that the pyramid makes images of this shape.

        Raises: ValueError.
        """
        _check_size(self.base, len(self.widths) - 1, shape)


class PriorConfig(Frozen):
    """A learned prior: moves standard normal latents to where an encoder reads real images (models.networks)."""

    width: int = Field(default=128, ge=1, description="of its hidden layers")
    steps: int = Field(default=8, ge=1, le=64, description="how many steps it moves a latent in")


class ResNetConfig(PyramidConfig):
    """R3GAN's generator (models.networks)."""

    input_layer: Literal["basis", "dense"] = Field(
        default="basis",
        validation_alias=AliasChoices("input_layer", "start"),
        description="basis: one learned image per channel, scaled by the latent; dense: linear in the latent",
    )
    prior: Annotated[PriorConfig | None, SWITCH] = Field(
        default=None, description="a learned prior, fitted to an encoder when training ends; true turns it on"
    )


class MLPConfig(Frozen):
    """Fully connected layers, for low-dimensional toy data of shape (dim, 1, 1)."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(ge=1)
    layers: int = Field(ge=1)
    label_dim: int = Field(default=32, ge=1)

    def check_size(self, shape: Shape) -> None:
        """Check that the data is low-dimensional.

        Raises: ValueError.
        """
        if shape[1:] != (1, 1):
            raise ValueError(f"an mlp takes data of shape (dim, 1, 1), got {shape}")


class DCGANConfig(Frozen):
    """The baseline of models.dcgan.

    `widths` are channels per level from the lowest resolution (`base` pixels a side, or [height, width]) upwards; the
    image has twice the sides of the last level.
    """

    kind: Literal["dcgan"] = "dcgan"
    base: Base = Field(description=_BASE_HELP)
    widths: Widths

    def check_size(self, shape: Shape) -> None:
        """Check that the levels make images of this shape.

        Raises: ValueError.
        """
        _check_size(self.base, len(self.widths), shape)


def list_levels(network: ResNetConfig | MLPConfig | DCGANConfig) -> list[LevelShape]:
    """Return the levels of a network from the lowest resolution upwards; none where it has no feature maps."""
    if isinstance(network, MLPConfig):
        return []
    return [LevelShape(units, *scale_base(network.base, level)) for level, units in enumerate(network.widths)]


NetworkConfig = Annotated[ResNetConfig | MLPConfig | DCGANConfig, Field(discriminator="kind")]


class GeneratorConfig(Frozen):
    """Everything that is needed to build a generator; a manifest's `network`."""

    z_dim: int = Field(ge=1)
    num_classes: int = Field(
        ge=0,
        validation_alias=AliasChoices("num_classes", "labels"),
        description="number of classes; 0 for an unconditional model",
    )
    shape: Shape = Field(description="channels, height, width of one image")
    network: NetworkConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        self.network.check_size(self.shape)
        return self
