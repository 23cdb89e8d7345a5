"""Configurations of discriminators.

Importing this module does not load torch; training.gan.discriminators builds the networks.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from models.base import Frozen
from models.network_config import DCGANConfig, MLPConfig, PyramidConfig, Shape


class ResNetDiscriminatorConfig(PyramidConfig):
    """R3GAN's discriminator: the generator's pyramid, downwards."""

    minibatch_group: int = Field(
        default=1,
        ge=1,
        description="consecutive images whose standard deviation D sees (minibatch standard deviation); 1 for none",
    )


DiscriminatorNetworkConfig = Annotated[ResNetDiscriminatorConfig | MLPConfig | DCGANConfig, Field(discriminator="kind")]


class DiscriminatorConfig(Frozen):
    """Everything that is needed to build a discriminator."""

    num_classes: int = Field(ge=0, description="number of classes; 0 for unlabelled data")
    shape: Shape = Field(description="channels, height, width of one image")
    infogan_codes: int = Field(default=0, ge=0, description="leading entries of z that D predicts from an image")
    network: DiscriminatorNetworkConfig

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        self.network.check_size(self.shape)
        return self
