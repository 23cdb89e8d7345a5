"""The training configuration: its settings with their bounds.

Old names of settings are aliases, so saved configurations stay readable. Importing this module does not
load torch. Not here: presets and saved configurations (training.config_files).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator
from typing_extensions import Self

from models.base import SWITCH, Frozen
from models.latents import MAX_INTEGER
from models.network_config import NetworkConfig, PriorConfig, ResNetConfig
from training.data_config import DataConfig
from training.discriminator_config import DiscriminatorNetworkConfig, ResNetDiscriminatorConfig
from training.gate import Bound
from training.metric_results import MetricName
from training.old_settings import REMOVED
from training.optional_parts import AugmentConfig, EncoderConfig, ProjectedConfig
from training.own_preset import OWN, Compute
from training.schedule import CosineSchedule, PositiveSchedule, ShareSchedule


class Config(Frozen):
    """Everything that decides a training run, except for the data's bytes."""

    preset: str
    compute: Compute | None = Field(
        default=None,
        description="of preset own: small has half of medium's channels, large twice as many",
    )
    description: str = Field(default="", description="of the images that it makes; the model's card repeats it")
    seed: int = Field(default=0, ge=0, le=MAX_INTEGER)
    total_kimg: float = Field(gt=0, description="length of the run, in thousand real images shown to D")
    tick_kimg: float = Field(gt=0, description="images between two reports, each with a grid and a checkpoint")
    snapshot_kimg: float = Field(
        default=25.0,
        ge=0,
        description="images between two snapshots of the averaged weights, from which the best is published; 0: none",
    )
    schedule_kimg: float = Field(gt=0, description="length of the schedules of lr, gamma, beta2 and others")
    batch: int = Field(ge=2)
    penalty_every: int = Field(default=1, ge=1, description="apply R1 and R2 only in each k-th step, k times as strong")
    freeze_generator_kimg: float = Field(
        default=0.0,
        ge=0,
        description="images before the generator is trained: with --init, the other networks first catch up with it",
    )
    augment: Annotated[AugmentConfig | None, SWITCH] = Field(
        default=None, description="augmentation of D's inputs, for small data sets; true turns it on"
    )
    encoder: Annotated[EncoderConfig | None, SWITCH] = Field(
        default=None, description="half of G's batch reconstructs real images that an encoder reads; true turns it on"
    )
    projected: Annotated[ProjectedConfig | None, SWITCH] = Field(
        default=None, description="a second discriminator on a pretrained network's features; true turns it on"
    )
    clip_fakes: bool = Field(
        default=False,
        validation_alias=AliasChoices("clip_fakes", "clip"),
        description="clip generated images to the range of pixels before D sees them",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="float32",
        description="of the convolutions; weights, losses and penalties stay float32. auto: bfloat16 where the device "
        "has it, resolved when the run begins",
    )
    threads: int = Field(default=0, ge=0, description="torch threads; 0: torch's default, kept for the whole run")
    z_dim: int = Field(ge=1)
    latent_std: float = Field(
        default=1.0,
        gt=0,
        le=2,
        validation_alias=AliasChoices("latent_std", "latent_sd"),
        description="standard deviation of the latents in training; the published model's latents always have 1",
    )
    infogan_codes: int = Field(
        default=0,
        ge=0,
        validation_alias=AliasChoices("infogan_codes", "codes"),
        description="leading entries of z that D learns to predict from images (InfoGAN)",
    )
    infogan_weight: float = Field(
        default=0.1,
        ge=0,
        validation_alias=AliasChoices("infogan_weight", "code_weight"),
        description="of the InfoGAN loss, for both networks",
    )
    objective: Literal["relativistic", "classic"] = "relativistic"
    lr: PositiveSchedule
    generator_lr_share: ShareSchedule = Field(
        default=CosineSchedule(start=1.0, end=1.0),
        description="the generator's share of lr; below 1 one that starts trained stays so while D catches up (TTUR)",
    )
    gamma: PositiveSchedule = Field(description="weight of the R1 and R2 penalties; 0 turns them off")
    beta1: float = Field(default=0.0, ge=0, lt=1, description="Adam's first-moment decay")
    beta2: CosineSchedule = Field(description="Adam's second-moment decay")
    ema_halflife_kimg: PositiveSchedule
    data: DataConfig
    generator: NetworkConfig
    discriminator: DiscriminatorNetworkConfig
    gate: dict[MetricName, Bound] = Field(default={}, description="what the evaluation must show before publishing")

    @model_validator(mode="before")
    @classmethod
    def _removed_settings_are_off(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        for name, off in REMOVED.items():
            if values.get(name, off) != off:
                raise ValueError(
                    f"{name} was removed; to go on without it, set {name}: {'null' if off is None else off}"
                )
        return {name: value for name, value in values.items() if name not in REMOVED}

    @field_validator("beta2")
    @classmethod
    def _is_below_one(cls, value: CosineSchedule) -> CosineSchedule:
        if not 0 <= min(value.start, value.end) <= max(value.start, value.end) < 1:
            raise ValueError("start and end must be from 0 to below 1")
        return value

    @property
    def prior(self) -> PriorConfig | None:
        """The generator's learned prior, if it has one."""
        return self.generator.prior if isinstance(self.generator, ResNetConfig) else None

    @property
    def batch_unit(self) -> int:
        """The number of images that must go to the same process, so that groups and encoder pairs stay whole."""
        network = self.discriminator
        group = network.minibatch_group if isinstance(network, ResNetDiscriminatorConfig) else 1
        return group * (2 if self.encoder else 1)

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Self:
        if self.compute and self.preset != OWN:
            raise ValueError(f"compute is for preset {OWN}; here, set the networks' widths")
        if self.infogan_codes > self.z_dim:
            raise ValueError(f"infogan_codes {self.infogan_codes} must be at most z_dim {self.z_dim}")
        if self.encoder and not isinstance(self.discriminator, ResNetDiscriminatorConfig):
            raise ValueError("encoder needs a discriminator of kind resnet, because it has the same layers")
        for name in ("independent_labels", "continuous_label"):
            if getattr(self.data, name) and {self.generator.kind, self.discriminator.kind} != {"resnet"}:
                raise ValueError(f"data.{name} needs a generator and a discriminator of kind resnet")
        if self.prior and not self.encoder:
            raise ValueError("generator.prior needs an encoder, to whose latents it is fitted: set encoder=true")
        if self.prior and self.infogan_codes:
            raise ValueError(
                "generator.prior moves the latents, so infogan_codes would lose their meaning: turn one off"
            )
        if self.projected and self.projected.replaces_pixels and self.infogan_codes:
            raise ValueError("infogan_codes need the discriminator that sees pixels: raise projected.pixel_weight")
        if self.batch % self.batch_unit:
            why = "twice minibatch_group, because of the encoder" if self.encoder else "minibatch_group"
            raise ValueError(f"batch {self.batch} must be a multiple of {self.batch_unit}: {why}")
        return self
