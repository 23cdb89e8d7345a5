"""Configurations of what a training has only where it is asked for: augmentation, encoder, projected discriminator.

Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, Field, field_validator, model_validator

from models.base import Frozen
from training.old_settings import REMOVED_AUGMENT
from training.schedule import CosineSchedule, Weight, check_range

# Above this probability, augmentations leak into generated images (Karras et al., arXiv 2006.06676, section 2.2).
MAX_AUGMENT_P = 0.8


class AugmentConfig(Frozen):
    """Augmentation of D's inputs: its probability follows a fixed schedule, as in R3GAN's own code."""

    p: Weight = Field(default=CosineSchedule(start=0.0, end=0.3), description="probability of each transformation")
    colour: float = Field(
        default=0.5, ge=0, le=1, description="probability of the colour transformations, as a share of p"
    )

    @model_validator(mode="before")
    @classmethod
    def _is_not_adaptive(cls, values: Any) -> Any:
        for name in REMOVED_AUGMENT:
            if isinstance(values, Mapping) and name in values:
                raise ValueError(
                    f"{name} was removed, because p follows a schedule now; set augment: {{p: 0.3}} or null"
                )
        return values

    @field_validator("p")
    @classmethod
    def _does_not_leak(cls, value: CosineSchedule) -> CosineSchedule:
        return check_range(value, 0, MAX_AUGMENT_P)


class EncoderConfig(Frozen):
    """The reconstruction of real images from latents that an encoder infers (training.gan.vae_gan)."""

    weight: Weight = Field(
        default=CosineSchedule(start=8.0, end=8.0),
        description="of the reconstruction loss, a squared distance of averaged pixels in -1 .. 1",
    )
    kl_weight: float = Field(
        default=6e-4,
        ge=0,
        validation_alias=AliasChoices("kl_weight", "divergence"),
        description="of the latents' KL divergence from the prior, in nats, relative to the reconstruction loss",
    )
    adversarial: bool = Field(
        default=False,
        validation_alias=AliasChoices("adversarial", "judged"),
        description="D sees images from the encoder's latents, too, so that they become as sharp as the others",
    )


class ProjectedConfig(Frozen):
    """A second discriminator, which sees features of a pretrained network (training.gan.projected)."""

    weight: Weight = Field(default=CosineSchedule(start=0.0, end=0.1), description="of its loss for G")
    pixel_weight: Weight = Field(
        default=CosineSchedule(start=1.0, end=1.0),
        description="of the discriminator that sees pixels, in G's loss; 0 leaves that one out",
    )
    gamma: Weight = Field(
        default=CosineSchedule(start=0.05, end=0.05),
        description="weight of its R1 and R2 penalties, by its features; 0 turns them off",
    )
    scale: int = Field(default=1, ge=1, le=4, description="images are enlarged so many times before they are read")
    width: int = Field(default=64, ge=1, description="channels of the mixed features and of the heads")

    @property
    def replaces_pixels(self) -> bool:
        """Whether it is the only discriminator."""
        return self.pixel_weight.start == self.pixel_weight.end == 0
