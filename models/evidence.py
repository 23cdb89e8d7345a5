"""What a manifest proves of its model: its data and ancestors, how it was trained, its scores, the gate's decision."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from models.base import Frozen

# The JSON keys of these fields are older than their names.
ALIASED = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)


def format_kimg(kimg: float) -> str:
    """Write thousands of images so that every single image tells: 1050.048, or 400 without decimals that are 0."""
    return f"{kimg:.3f}".rstrip("0").rstrip(".")


class DataInfo(Frozen):
    """The data that a model was trained on, and its terms of use."""

    name: str
    digest: str = Field(description="sha256 over shape, pixels, labels and label names")
    images: int = Field(ge=1)
    held_out: int = Field(default=0, ge=0, description="how many of the images were never trained on")
    licence: str
    attribution: str
    use: str = Field(default="", description="what to know before the images are used: caveats, what they are not for")


class Ancestor(Frozen):
    """A run or model whose networks a training started from."""

    source: str = Field(description="the run's folder, or the model's name/version")
    digest: str = Field(description="sha256 of the checkpoint, of training.safetensors or of generator.safetensors")
    kimg: float = Field(ge=0, description="thousand real images that its own training had shown by then")
    command: str
    config: dict[str, Any]
    data: DataInfo
    test_evaluations: int = Field(default=0, ge=0, description="how often it had been measured on test images")


class TrainingInfo(Frozen):
    """How a model was trained."""

    command: str
    code_version: str
    torch: str
    device: str
    kimg: float = Field(ge=0, description="thousand real images shown to the discriminator")
    config: dict[str, Any]
    data: DataInfo
    changed_settings: dict[str, tuple[Any, Any]] = Field(
        default={}, description="settings that differ from the preset: the preset's value and the run's"
    )
    checkpoint: str = Field(default="", description="which state of the run was published, and by which metrics")
    scored_on: str = Field(default="", description="the real images that the scores are measured with")
    test_evaluations: int | None = Field(
        default=None, ge=0, description="how often the run was measured on test images; null for older models"
    )
    ancestors: tuple[Ancestor, ...] = Field(default=(), description="the newest first")


class Score(Frozen):
    """One metric of a model and how it was measured."""

    model_config = ALIASED

    name: str
    value: float
    real_baseline: float | None = Field(
        default=None,
        validation_alias="floor",
        serialization_alias="floor",
        description="the same metric of real images",
    )
    protocol: str


class GateRecord(Frozen):
    """The gate's decision on a published model."""

    passed: bool
    checks: tuple[str, ...] = Field(description="each threshold and the metric, in words; only failures if not passed")
    accepted: str = Field(default="", description="why it was published although it did not pass")
