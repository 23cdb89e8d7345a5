"""The training configuration as data.

Knows: the fields, their units and bounds, the presets (YAML beside this file) and how
`--set a.b=c` changes one. Does not know: how training uses them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AliasChoices, Field, TypeAdapter, ValidationError, field_validator, model_validator
from typing_extensions import Self

from models.base import Frozen, first_problem
from models.errors import FileError, InputError
from models.latents import MAX_INTEGER
from models.networks import DiscriminatorNetworkConfig, NetworkConfig, ResNetDiscriminatorConfig
from training.data.labels import LabelColumn
from training.gan.augment import AugmentConfig
from training.gan.vae_gan import EncoderConfig
from training.gate import Bound
from training.metric_results import MetricName
from training.schedule import CosineSchedule


class DataConfig(Frozen):
    """What the data is called and under which terms it may be used; it goes into the model's card."""

    kind: Literal["images", "toy1d", "toy25"] = "images"
    name: str = ""
    licence: str = ""
    attribution: str = ""
    use: str = Field(default="", description="what the card says of using the images: caveats, what they are not for")
    digest: str = Field(default="", description="if given, the four above hold for data of this sha256 only")
    aligned_faces: bool = Field(default=False, description="the evaluation compares skin tones as well")
    mirror: bool = Field(default=False, description="flip each image shown with probability 1/2")
    labels: tuple[LabelColumn, ...] = Field(
        default=(), description="csv columns that make the label, joined by a space"
    )
    holdout: float = Field(default=0.0, ge=0, lt=1, description="share of the images kept aside for evaluation")
    validation: float = Field(
        default=0.0, ge=0, lt=1, description="share of each class's other images, kept aside for choosing settings"
    )
    class_sampling_power: float = Field(
        default=1.0,
        ge=0,
        le=1,
        validation_alias=AliasChoices("class_sampling_power", "class_power"),
        description="classes are shown in proportion to their size to this power: 1 as they are, 0 equally often",
    )


_GATE = TypeAdapter(dict[MetricName, Bound])
# Settings of earlier versions with the value that turned them off: saved configurations may hold that value.
REMOVED: dict[str, object] = {"penalty": "exact", "cover": None}
_CARD = ("name", "licence", "attribution", "use")


class Config(Frozen):
    """Everything that decides a training run, apart from the data's bytes."""

    preset: str
    description: str = ""
    seed: int = Field(default=0, ge=0, le=MAX_INTEGER)
    total_kimg: float = Field(gt=0, description="thousand real images shown to D")
    tick_kimg: float = Field(gt=0, description="progress, grid and checkpoint every so often")
    schedule_kimg: float = Field(gt=0, description="length of the cosine schedules")
    batch: int = Field(ge=2)
    penalty_every: int = Field(default=1, ge=1, description="R1 and R2 on each k-th step only, k times as heavy")
    augment: AugmentConfig | None = Field(
        default=None, description="augmentation of what D sees, for small data; {} to use it"
    )
    encoder: EncoderConfig | None = Field(
        default=None, description="half of G's batch are real images, read by an encoder and made again; {} to use it"
    )
    clip: bool = Field(
        default=False, description="show D generated images as users get them: clipped to the range of pixels"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the convolutions; weights, losses and penalties stay float32"
    )
    threads: int = Field(default=0, ge=0, description="torch threads; 0: torch's default, kept for the whole run")
    z_dim: int = Field(ge=1)
    latent_sd: float = Field(
        default=1.0,
        gt=0,
        le=2,
        description="of the latents in training; the model's have 1, so below 1 it goes further: truncation reversed",
    )
    codes: int = Field(default=0, ge=0, description="leading entries of z that D learns to read from images (InfoGAN)")
    code_weight: float = Field(default=0.1, ge=0, description="of the codes' loss, for both networks")
    objective: Literal["relativistic", "classic"] = "relativistic"
    lr: CosineSchedule
    gamma: CosineSchedule = Field(description="weight of the R1 and R2 penalties; none where it is 0")
    beta1: float = Field(default=0.0, ge=0, lt=1, description="Adam's first-moment decay")
    beta2: CosineSchedule = Field(description="Adam's second-moment decay")
    ema_halflife_kimg: CosineSchedule
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
                raise ValueError(f"{name} was removed; without it: {name}: {'null' if off is None else off}")
        return {name: value for name, value in values.items() if name not in REMOVED}

    @field_validator("lr", "gamma", "ema_halflife_kimg")
    @classmethod
    def _not_negative(cls, value: CosineSchedule) -> CosineSchedule:
        # Far above anything that trains, far below what float32 can hold.
        if not 0 <= min(value.start, value.end) <= max(value.start, value.end) <= 1e9:
            raise ValueError("start and end must be from 0 to 1e9")
        return value

    @field_validator("beta2")
    @classmethod
    def _below_one(cls, value: CosineSchedule) -> CosineSchedule:
        if not 0 <= min(value.start, value.end) <= max(value.start, value.end) < 1:
            raise ValueError("start and end must be from 0 to below 1")
        return value

    @property
    def inseparable(self) -> int:
        """So many of a batch's images go to one process: whole groups, also where half of the images is read."""
        network = self.discriminator
        group = network.minibatch_group if isinstance(network, ResNetDiscriminatorConfig) else 1
        return group * (2 if self.encoder else 1)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.codes > self.z_dim:
            raise ValueError(f"codes {self.codes} must be at most z_dim {self.z_dim}")
        if self.encoder and not isinstance(self.discriminator, ResNetDiscriminatorConfig):
            raise ValueError("encoder needs a discriminator of kind resnet, whose pyramid it has")
        if self.batch % self.inseparable:
            why = "twice minibatch_group, as encoder reads half of it" if self.encoder else "minibatch_group"
            raise ValueError(f"batch {self.batch} must be a multiple of {self.inseparable}: {why}")
        return self


def preset_names() -> list[str]:
    """The names of the presets that ship with the trainer, sorted."""
    folder = resources.files("training").joinpath("presets")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


# For pictures of one's own, by their side.
PRESET_BY_SIDE = {28: "images28", 32: "images32", 64: "images64"}


def preset_for(shape: tuple[int, int, int]) -> str:
    """The preset for images of this shape (channels, height, width).

    Raises: InputError for --data.
    """
    _, height, width = shape
    if height != width or height not in PRESET_BY_SIDE:
        sides = ", ".join(map(str, PRESET_BY_SIDE))
        raise InputError(
            f"its images are {width}x{height}, and there are presets for squares of {sides} pixels a side: "
            "resize them, or give a --preset and the networks' base and widths by --set",
            "--data",
        )
    return PRESET_BY_SIDE[height]


def load_preset(name: str, assignments: tuple[str, ...] = ()) -> Config:
    """A preset with `a.b=c` assignments applied.

    Raises: InputError naming the preset or the assignment at fault.
    """
    if name not in preset_names():
        raise InputError(f"no preset {name!r}; there are {', '.join(preset_names())}", "preset")
    text = resources.files("training").joinpath("presets").joinpath(f"{name}.yaml").read_text()
    values: dict[str, Any] = {"preset": name, **yaml.safe_load(text)}
    if any(a.startswith(tuple(f"data.{field}=" for field in _CARD)) for a in assignments):
        # Who says what the data is says all of it: nothing of the preset's words may stay behind.
        values["data"] = {k: v for k, v in values["data"].items() if k not in (*_CARD, "digest")}
    for assignment in assignments:
        _assign(values, assignment)
    return _validate(values)


def thresholds(saved: Mapping[str, Any]) -> dict[MetricName, Bound]:
    """The gate of a saved configuration, also of another version's; its preset's where it has none of its own.

    Args: saved, as `Config.model_dump` makes it and model cards keep it.
    """
    try:
        own = _GATE.validate_python(saved.get("gate") or {})
    except ValidationError:
        own = {}
    preset = saved.get("preset")
    return own or (load_preset(preset).gate if preset in preset_names() else {})


def data_settings(saved: Mapping[str, Any]) -> DataConfig:
    """How training read its data, from a saved configuration, also of another version's."""
    data = saved.get("data")
    known = {k: v for k, v in data.items() if k in DataConfig.model_fields} if isinstance(data, Mapping) else {}
    try:
        return DataConfig.model_validate(known)
    except ValidationError:
        return DataConfig()


def load_config(path: Path) -> Config:
    """The configuration that a run saved beside its output.

    Raises: FileError.
    """
    try:
        return _validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(path, f"is damaged: {str(error).splitlines()[0]}") from None
    except InputError as error:
        raise FileError(path, f"is no configuration of this version: {error}") from None


def dump_config(config: Config) -> str:
    """YAML that `load_config` reads back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _assign(values: dict[str, Any], assignment: str) -> None:
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise InputError(f"expected NAME=VALUE, got {assignment!r}", "--set")
    if path == "preset":
        raise InputError("preset is no setting; give another --preset", "--set")
    *parents, leaf = path.split(".")
    node = values
    for key in parents:
        child = node.get(key)
        if not isinstance(child, dict):
            raise InputError(f"there is no setting {path!r}", "--set")
        node = child
    try:
        node[leaf] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"the value of {path!r} is not valid YAML: {text[:40]!r}", "--set") from None


def _validate(values: Any) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problem = first_problem(error)
        # pydantic puts the kind of the network into the path; no setting is called so.
        path = tuple(part for part in problem.path if part not in ("resnet", "mlp"))
        setting = problem._replace(path=path).field or "config"
        if problem.kind == "extra_forbidden":
            raise InputError(f"there is no such setting{_near(setting)}; --dry-run lists them all", setting) from None
        raise InputError(problem.message, setting) from None


def _near(setting: str) -> str:
    """A suggestion where a setting of the same name but for a slip exists."""
    known = sorted({*Config.model_fields, *DataConfig.model_fields})
    found = difflib.get_close_matches(setting.rpartition(".")[2], known, n=1, cutoff=0.8)
    return f" (did you mean {found[0]}?)" if found else ""
