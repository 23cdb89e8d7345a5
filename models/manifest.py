"""A model's card as data, and the addresses that the model has.

Knows: every field of manifest.json, and how a request's seed, index, labels and psi become addresses
of this model. Does not know: files other than their names and hashes, tensors, HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from models import address
from models.address import Address
from models.base import Frozen, describe_first_problem
from models.errors import ArtifactError, InputError
from models.latents import MAX_INTEGER, draw_label

FILE_NAME = "manifest.json"
DeviceClass = Literal["cpu", "cuda"]
LabelSpec = int | Sequence[int] | Literal["balanced"] | None


class ImageShape(Frozen):
    """Size of one image in pixels; channels is 1 for grey, 3 for RGB."""

    channels: Literal[1, 3]
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Latents(Frozen):
    """Which scheme (models.latents) makes z, and its length."""

    scheme: Literal[1] = 1
    z_dim: int = Field(ge=1)


class DataInfo(Frozen):
    """What the model was trained on, and under which terms."""

    name: str
    digest: str = Field(description="sha256 over shape, pixels, labels and label names")
    images: int = Field(ge=1)
    held_out: int = Field(default=0, ge=0, description="how many of the images were kept aside and never trained on")
    licence: str
    attribution: str
    use: str = Field(default="", description="what to know before the images are used: caveats, what they are not for")


class TrainingInfo(Frozen):
    """How the model was made."""

    command: str
    code_version: str
    torch: str
    device: str
    kimg: float = Field(ge=0, description="thousand real images shown to the discriminator")
    config: dict[str, Any]
    data: DataInfo


class Score(Frozen):
    """One measured figure and how it was measured."""

    name: str
    value: float
    floor: float | None = Field(default=None, description="the same figure of real images")
    protocol: str


class GateRecord(Frozen):
    """What the gate said before the model was published."""

    passed: bool
    checks: tuple[str, ...] = Field(description="each threshold and the figure, in words; why not, where not passed")
    accepted: str = Field(default="", description="why it was published although it did not pass")


class Manifest(Frozen):
    """manifest.json: what the model is, how it was made, and the hashes of its files."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    description: str
    licence: str = Field(description="licence of the weights")
    image: ImageShape
    latents: Latents
    labels: tuple[str, ...] = Field(description="class names in label order; empty if unconditional")
    truncation: bool = Field(description="whether psi other than 1 is allowed")
    batch_size: dict[DeviceClass, Annotated[int, Field(ge=1)]] = Field(
        description="the one batch size of every forward"
    )
    batch_size_measured: dict[DeviceClass, bool] = Field(description="false where a default was taken")
    network: dict[str, Any] = Field(description="builds the generator of generator.safetensors")
    training: TrainingInfo
    scores: tuple[Score, ...] = ()
    gate: GateRecord | None = Field(default=None, description="none where the model was made before there was a gate")
    files: dict[str, str] = Field(default={}, description="file name -> sha256")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _checked(address.check_name, value)

    @field_validator("version")
    @classmethod
    def _version(cls, value: str) -> str:
        return _checked(address.check_version, value)

    def addresses(
        self, seed: int, index: int = 0, n: int = 1, labels: LabelSpec = None, psi: float = 1.0
    ) -> list[Address]:
        """The n addresses from `index` on, with every label resolved.

        Args:
            seed, index: 0 .. 2^53 - 1; so is index + n - 1.
            n: at least 1.
            labels: one label for all, one per image, "balanced" (index modulo the number of classes),
                or None: each drawn from the image's own stream.
            psi: in (0, 1]; other than 1 only where `truncation` allows it.
        Raises: InputError naming the field at fault.
        """
        address.check_integer(seed, "seed")
        address.check_integer(index, "index")
        if n < 1:
            raise InputError(f"must be at least 1, got {n}", "n")
        if index + n - 1 > MAX_INTEGER:
            raise InputError(f"index + n - 1 must not pass 2^53 - 1 ({MAX_INTEGER})", "index")
        psi = address.check_psi(psi)
        if psi != 1.0 and not self.truncation:
            raise InputError(f"{self.name} {self.version} takes no psi other than 1", "psi")
        resolved = self._resolved_labels(seed, index, n, labels)
        return [Address(self.name, self.version, seed, index + k, label, psi) for k, label in enumerate(resolved)]

    def check(self, wanted: Address) -> Address:
        """The address with its label resolved, if it is one of this model's.

        Raises: InputError naming the field at fault.
        """
        for field, mine, asked in (("model", self.name, wanted.model), ("version", self.version, wanted.version)):
            if asked != mine:
                raise InputError(f"must be {mine!r}, got {asked!r}", field)
        try:
            return self.addresses(wanted.seed, wanted.index, 1, wanted.label, wanted.psi)[0]
        except InputError as error:
            raise InputError(error.reason, "label" if error.field == "labels" else error.field) from None

    def label_name(self, label: int | None) -> str | None:
        """A label's name, None for None."""
        return None if label is None else self.labels[label]

    def _resolved_labels(self, seed: int, index: int, n: int, labels: LabelSpec) -> list[int | None]:
        classes = len(self.labels)
        if not classes:
            if labels is not None:
                raise InputError(f"{self.name} {self.version} has no labels; leave it out", "labels")
            return [None] * n
        if labels is None:
            return [draw_label(seed, index + k, self.latents.z_dim, classes) for k in range(n)]
        if labels == "balanced":
            return [(index + k) % classes for k in range(n)]
        if isinstance(labels, str):
            raise InputError(f'must be a label, a list of labels or "balanced", got {labels!r}', "labels")
        if isinstance(labels, int):
            return [self._label(labels, "labels")] * n
        if len(labels) != n:
            raise InputError(f"has {len(labels)} entries for n = {n} images; give one per image", "labels")
        return [self._label(label, f"labels[{k}]") for k, label in enumerate(labels)]

    def _label(self, label: int, field: str) -> int:
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(self.labels):
            raise InputError(
                f"must be from 0 to {len(self.labels) - 1} ({', '.join(self.labels)}), got {label!r}", field
            )
        return label


def read(folder: Path) -> Manifest:
    """The manifest of an artifact folder.

    Raises: ArtifactError naming the file and the field.
    """
    path = folder / FILE_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(path, "is missing; this is not an artifact folder") from None
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise ArtifactError(path, f"is not a valid manifest: {describe_first_problem(error)}") from None


def dump(manifest: Manifest) -> bytes:
    """The bytes of manifest.json."""
    return manifest.model_dump_json(indent=2).encode() + b"\n"


def _checked(check: Any, value: str) -> str:
    try:
        return str(check(value))
    except InputError as error:
        raise ValueError(error.reason) from None
