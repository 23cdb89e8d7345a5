"""The configuration of a run's data. Importing this module does not load torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from models.base import Frozen
from training.data.decoding import SIZE_HELP, Decoding, FitMode, Size, parse_colour, parse_size
from training.data.labels import LabelColumn

# If one of these is set, none of the preset's stays.
DATA_TERMS = ("name", "licence", "attribution", "use")

# What decides the images and labels that are read; the others share them out and describe them.
READING = (
    "kind",
    "label_columns",
    "independent_labels",
    "continuous_label",
    "continuous_steps",
    "unlabelled",
    "size",
    "fit",
    "background",
    "skip_damaged",
)


# Of a continuous label.
DEFAULT_STEPS = 100


def _read_size(value: Any) -> Size | None:
    return None if value is None else parse_size(value)


def _write_size(size: Size | None) -> int | str | None:
    return size.width if size and size.width == size.height else (size and str(size))


class DataConfig(Frozen):
    """The data: what it is called, under which terms it may be used, and how training reads it."""

    kind: Literal["images", "toy1d", "toy25", "triangles"] = "images"
    name: str = ""
    licence: str = ""
    attribution: str = ""
    use: str = Field(default="", description="caveats, and what the images are not for; part of the model card")
    digest: str = Field(default="", description="if given, the four above are for data with this sha256 only")
    aligned_faces: bool = Field(
        default=False,
        description="the images are faces aligned to one template: the evaluation compares skin tones, `dissect` names "
        "regions of the face, and `directions` measures smiles",
    )
    mirror: bool = Field(default=False, description="flip each real image with probability 1/2")
    label_columns: tuple[LabelColumn, ...] = Field(
        default=(),
        validation_alias=AliasChoices("label_columns", "labels"),
        description="csv columns that make the label, joined by a space",
    )
    independent_labels: bool = Field(
        default=False,
        description="each of the label_columns is a label of its own, learnt by itself: every combination can be asked "
        "for, also one that no image has",
    )
    continuous_label: str = Field(
        default="",
        description="csv column of numbers that is the only label; any value between its ends can be asked for",
    )
    continuous_steps: int = Field(
        default=DEFAULT_STEPS,
        ge=1,
        le=1000,
        description="how many equal steps there are from the smallest to the largest value of the continuous_label; a "
        "value that is asked for is the nearest of their ends",
    )
    unlabelled: bool = Field(default=False, description="read no labels: folders and tables are no classes")
    size: Annotated[Size | None, BeforeValidator(_read_size), PlainSerializer(_write_size)] = Field(
        default=None, description=f"every image is brought to it: {SIZE_HELP}"
    )
    fit: FitMode = Field(default="crop", description="how, where the aspect differs: crop, pad or stretch")
    background: str = Field(
        default="", description="colour behind transparent pixels and beside padded images, such as white"
    )
    skip_damaged: bool = Field(default=False, description="leave out images that cannot be decoded, and name them")
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

    @property
    def columns(self) -> tuple[LabelColumn, ...]:
        """The columns that labels are read from; empty for those that data are read from by themselves."""
        return (LabelColumn(column=self.continuous_label),) if self.continuous_label else self.label_columns

    @property
    def is_toy(self) -> bool:
        """Whether training makes the data itself (training.data.toys)."""
        return self.kind != "images"

    @property
    def decoding(self) -> Decoding:
        """How the pixels are read."""
        return Decoding(self.size, self.fit, parse_colour(self.background), self.skip_damaged)

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, value: str) -> str:
        parse_colour(value)
        return value

    @model_validator(mode="after")
    def _check_decoding(self) -> DataConfig:
        self.decoding.check()
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> DataConfig:
        if self.unlabelled and self.label_columns:
            raise ValueError("data.unlabelled reads no labels; give data.label_columns=[] with it")
        if self.independent_labels and len(self.label_columns) < 2:
            raise ValueError("data.independent_labels needs two or more data.label_columns")
        return self

    @model_validator(mode="after")
    def _check_continuous_label(self) -> DataConfig:
        others = {
            "data.label_columns=[]": bool(self.label_columns),
            "data.independent_labels=false": self.independent_labels,
            "data.unlabelled=false": self.unlabelled,
        }
        if self.continuous_label and any(others.values()):
            needed = " and ".join(setting for setting, is_needed in others.items() if is_needed)
            raise ValueError(f"data.continuous_label is the only label; give {needed} with it")
        if self.continuous_steps != DEFAULT_STEPS and not self.continuous_label:
            raise ValueError("data.continuous_steps is of a data.continuous_label, and there is none")
        return self

    def without_terms_of_other_data(self, digest: str) -> DataConfig:
        """Return this for data with a digest: without the terms, if they were written for other data."""
        if self.digest in ("", digest):
            return self
        return self.model_copy(update=dict.fromkeys((*DATA_TERMS, "digest"), ""))
