"""The training configuration: its settings with their bounds, presets, `--set`, and saved configurations.

Old names of settings are aliases, so saved configurations stay readable. Importing this module does not
load torch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from models.base import SWITCH, Frozen, first_problem
from models.errors import FileError, InputError
from models.latents import MAX_INTEGER
from models.network_config import NetworkConfig, PriorConfig, ResNetConfig, Shape
from training.assignments import assign, suggest
from training.data.labels import LabelColumn
from training.discriminator_config import DiscriminatorNetworkConfig, ResNetDiscriminatorConfig
from training.gate import Bound
from training.metric_results import MetricName
from training.old_settings import REMOVED, REMOVED_AUGMENT, field_names
from training.own_preset import EXAMPLE_SHAPE, OWN, Compute, check_shape, derive_settings
from training.schedule import CosineSchedule, Weight

# Above this probability, augmentations leak into generated images (Karras et al., arXiv 2006.06676, section 2.2).
MAX_AUGMENT_P = 0.8


def _check_range(schedule: CosineSchedule, low: float, high: float) -> CosineSchedule:
    if not low <= min(schedule.start, schedule.end) <= max(schedule.start, schedule.end) <= high:
        raise ValueError(f"start and end must be from {low:g} to {high:g}")
    return schedule


# The bound is far above anything that trains and far below float32's largest number.
PositiveSchedule = Annotated[CosineSchedule, AfterValidator(functools.partial(_check_range, low=0, high=1e9))]
ShareSchedule = Annotated[CosineSchedule, AfterValidator(functools.partial(_check_range, low=0, high=1))]


class DataConfig(Frozen):
    """The data: what it is called, under which terms it may be used, and how training reads it."""

    kind: Literal["images", "toy1d", "toy25"] = "images"
    name: str = ""
    licence: str = ""
    attribution: str = ""
    use: str = Field(default="", description="caveats, and what the images are not for; part of the model card")
    digest: str = Field(default="", description="if given, the four above are for data with this sha256 only")
    aligned_faces: bool = Field(default=False, description="the evaluation compares skin tones as well")
    mirror: bool = Field(default=False, description="flip each real image with probability 1/2")
    label_columns: tuple[LabelColumn, ...] = Field(
        default=(),
        validation_alias=AliasChoices("label_columns", "labels"),
        description="csv columns that make the label, joined by a space",
    )
    unlabelled: bool = Field(default=False, description="read no labels: folders and tables are no classes")
    test: str = Field(
        default="", description="path of the test images, read as the data are; without it, the data's own or a share"
    )
    holdout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the images that is held out as test images, for a release"
    )
    # Off unless it is stated, because configurations of earlier versions do not have it.
    stratify_holdout: bool = Field(
        default=False, description="take the holdout's share of each class instead of all images together"
    )
    validation: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of each class's other images that is held out for choices: settings, snapshots",
    )
    class_sampling_power: float = Field(
        default=1.0,
        ge=0,
        le=1,
        validation_alias=AliasChoices("class_sampling_power", "class_power"),
        description="classes are shown in proportion to their size to this power: 1 as they are, 0 equally often",
    )

    @model_validator(mode="after")
    def _check_labels(self) -> DataConfig:
        if self.unlabelled and self.label_columns:
            raise ValueError("data.unlabelled reads no labels; give data.label_columns=[] with it")
        return self

    def without_terms_of_other_data(self, digest: str) -> DataConfig:
        """Return this for data with a digest: without the terms, if they were written for other data."""
        if self.digest in ("", digest):
            return self
        return self.model_copy(update=dict.fromkeys((*DATA_TERMS, "digest"), ""))


# If one of these is set, none of the preset's stays.
DATA_TERMS = ("name", "licence", "attribution", "use")


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
        return _check_range(value, 0, MAX_AUGMENT_P)


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


class ProjectedConfig(Frozen):
    """A second discriminator, which sees features of a pretrained network (training.gan.projected)."""

    weight: Weight = Field(default=CosineSchedule(start=0.0, end=0.1), description="of its loss for G")
    pixel_weight: Weight = Field(
        default=CosineSchedule(start=1.0, end=1.0),
        description="of the discriminator that sees pixels, in G's loss; 0 leaves that one out",
    )
    gamma: Weight = Field(
        default=CosineSchedule(start=0.05, end=0.05), description="weight of its R1 and R2 penalties, by its features"
    )
    scale: int = Field(default=1, ge=1, le=4, description="images are enlarged so many times before they are read")
    width: int = Field(default=64, ge=1, description="channels of the mixed features and of the heads")

    @property
    def replaces_pixels(self) -> bool:
        """Whether it is the only discriminator."""
        return self.pixel_weight.start == self.pixel_weight.end == 0


class Config(Frozen):
    """Everything that decides a training run, except for the data's bytes."""

    preset: str
    compute: Compute | None = Field(
        default=None,
        description="of preset own: small has half of medium's channels, large twice as many",
    )
    description: str = ""
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


# Earlier presets whose place `own` has taken; their runs are resumed by what they saved.
REPLACED = ("images28", "images32", "images64")


def list_presets() -> list[str]:
    """Return the names of the presets, sorted."""
    folder = resources.files("training").joinpath("presets")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def find_preset(shape: tuple[int, int, int]) -> str:
    """Return the preset for images of this shape (channels, height, width).

    Raises: InputError for --data.
    """
    check_shape(shape)
    return OWN


def load_preset(
    name: str, assignments: tuple[str, ...] = (), shape: Shape = EXAMPLE_SHAPE, saved: Config | None = None
) -> Config:
    """Return a preset with `a.b=c` assignments applied.

    Args:
        name: of a preset, or an earlier name of it.
        assignments: as --set takes them.
        shape: of the images, by which the preset `own` chooses some settings.
        saved: the configuration of the run that is resumed, which keeps what its preset chose.
    Raises: InputError naming the preset or the assignment at fault.
    """
    is_saved = saved is not None and saved.preset == name
    if saved and is_saved and name in REPLACED:
        values = {**saved.model_dump(mode="json"), "total_kimg": _read_preset(OWN)["total_kimg"]}
    else:
        name = OWN if name in REPLACED else name
        if name not in list_presets():
            raise InputError(f"no preset {name!r}; there are {', '.join(list_presets())}", "preset")
        values = {"preset": name, **_read_preset(name)}
    if name == OWN:
        for assignment in assignments:
            if assignment.startswith("compute="):
                assign(Config, values, assignment)
        chosen = derive_settings(shape, values["compute"])
        if saved and is_saved and saved.compute == values["compute"]:
            chosen = {setting: saved.model_dump(mode="json")[setting] for setting in chosen}
        values |= chosen
    if any(a.startswith(tuple(f"data.{term}=" for term in DATA_TERMS)) for a in assignments):
        # The user describes other data, so the preset's name and licence must not stay.
        values["data"] = {k: v for k, v in values["data"].items() if k not in (*DATA_TERMS, "digest")}
    for assignment in assignments:
        assign(Config, values, assignment)
    return _validate(values)


def _read_preset(name: str) -> dict[str, Any]:
    """Return a preset's settings; those that it does not state are its base's."""
    text = resources.files("training").joinpath("presets").joinpath(f"{name}.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    base = values.pop("base", None)
    return {**_read_preset(base), **values} if base else values


def read_gate(saved: Mapping[str, Any]) -> dict[MetricName, Bound]:
    """Return the thresholds of a saved configuration, or its preset's if it has none.

    Args: saved, as `Config.model_dump` makes it and manifests keep it; older versions' are read, too.
    """
    try:
        own = TypeAdapter(dict[MetricName, Bound]).validate_python(saved.get("gate") or {})
    except ValidationError:
        own = {}
    preset = saved.get("preset")
    return own or (load_preset(preset).gate if preset in (*list_presets(), *REPLACED) else {})


def read_data_config(saved: Mapping[str, Any]) -> DataConfig:
    """Return how training read its data, from a saved configuration of this or an older version."""
    known = {name for field in DataConfig.model_fields for name in field_names(DataConfig, field)}
    data = saved.get("data")
    values = {k: v for k, v in data.items() if k in known} if isinstance(data, Mapping) else {}
    try:
        return DataConfig.model_validate(values)
    except ValidationError:
        return DataConfig()


def load_config(path: Path) -> Config:
    """Return the configuration that a run saved in its folder.

    Raises: FileError.
    """
    try:
        return _validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(path, f"is damaged: {str(error).splitlines()[0]}") from None
    except InputError as error:
        raise FileError(path, f"does not suit this version: {error}") from None


def dump_config(config: Config) -> str:
    """Return YAML that `load_config` reads back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _validate(values: Any) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problem = first_problem(error)
        # pydantic puts the kind of the network into the path; no setting is called so.
        path = tuple(part for part in problem.path if part not in ("resnet", "mlp", "dcgan"))
        setting = problem._replace(path=path).field or "config"
        if problem.kind == "extra_forbidden":
            hint = suggest(Config, setting)
            raise InputError(f"there is no such setting{hint}; --dry-run lists them all", setting) from None
        raise InputError(problem.message, setting) from None
