"""manifest.json as data, and the addresses of the model that it describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError, field_validator

from models import address
from models.address import LABEL_FIELDS, Address
from models.address_numbers import check_integer
from models.base import Frozen, describe_first_problem
from models.errors import ArtifactError, InputError
from models.evidence import ALIASED, GateRecord, Score, TrainingInfo
from models.labels import Classes, Label, LabelSpec
from models.latent_edits import name_direction
from models.latents import MAX_INTEGER, draw_label, pack_latent
from models.level_checks import fit_level_edits
from models.network_config import GeneratorConfig, list_levels

MANIFEST_FILE = "manifest.json"
DeviceClass = Literal["cpu", "cuda"]
NO_STREAM = "is missing: a latent that is written out has no random stream to draw a label from"


class ImageShape(Frozen):
    """Size of one image in pixels; channels is 1 for grey, 3 for RGB."""

    channels: Literal[1, 3]
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Latents(Frozen):
    """Which scheme (models.latents) makes z, and its length."""

    scheme: Literal[1] = 1
    z_dim: int = Field(ge=1)


class Manifest(Frozen):
    """manifest.json: what a model is, how it was trained, and the hashes of its files."""

    model_config = ALIASED

    schema_version: Literal[1, 2] = Field(
        default=2, description="1: no ONNX file, and TorchScript takes labels; 2: both take class weights"
    )
    name: str
    version: str
    upgraded_from: str = Field(default="", description="an older version that has the same weights")
    description: str
    licence: str = Field(description="licence of the weights")
    image: ImageShape
    latents: Latents
    class_names: tuple[str, ...] = Field(
        validation_alias="labels",
        serialization_alias="labels",
        description="class names in label order; empty if unconditional",
    )
    label_values: dict[str, tuple[str, ...]] = Field(
        default={},
        description="each label's value in every class, in label order, where classes combine several labels",
    )
    continuous_label: str = Field(
        default="", description="the label whose values the classes are, as numbers on an even scale; empty for none"
    )
    truncation: bool = Field(description="whether psi other than 1 is allowed")
    batch_size: dict[DeviceClass, Annotated[int, Field(ge=1)]] = Field(description="rows of every forward")
    batch_size_measured: dict[DeviceClass, bool] = Field(description="false where it was given or a default was taken")
    network: dict[str, Any] = Field(description="builds the generator of generator.safetensors")
    directions: tuple[str, ...] = Field(default=(), description="the names of directions.json, in order")
    training: TrainingInfo
    scores: tuple[Score, ...] = ()
    gate: GateRecord | None = Field(default=None, description="null for models older than the gate")
    files: dict[str, str] = Field(default={}, description="file name -> sha256")

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return _check(address.check_name, value)

    @field_validator("version")
    @classmethod
    def _version(cls, value: str) -> str:
        return _check(address.check_version, value)

    def addresses(
        self, seed: int, index: int = 0, n: int = 1, labels: LabelSpec = None, psi: float = 1.0
    ) -> list[Address]:
        """Return the n addresses from `index` on, with every label resolved.

        Args:
            seed, index: 0 .. 2^53 - 1; so is index + n - 1.
            n: at least 1.
            labels: one label for all, one per image, "balanced" (index modulo the number of classes),
                or None: each drawn from the image's own stream.
            psi: in (0, 1]; other than 1 only where `truncation` allows it.
        Raises: InputError naming the field at fault.
        """
        check_integer(seed, "seed")
        check_integer(index, "index")
        if n < 1:
            raise InputError(f"must be at least 1, got {n}", "n")
        if index + n - 1 > MAX_INTEGER:
            raise InputError(f"index + n - 1 must not pass 2^53 - 1 ({MAX_INTEGER})", "index")
        psi = address.check_psi(psi)
        if psi != 1.0 and not self.truncation:
            raise InputError(f"{self.name} {self.version} takes no psi other than 1", "psi")
        resolved = self._resolve_labels(seed, index, n, labels)
        return [Address(self.name, self.version, seed, index + k, label, psi) for k, label in enumerate(resolved)]

    def find_label(self, label: Label, field: str = "labels") -> int:
        """Return the number of the class that a label stands for.

        Raises: InputError for `field`.
        """
        if not self.class_names:
            raise self._refuse_label(field)
        return self._classes.find(label, field)

    def check(self, requested: Address) -> Address:
        """Return the address with its label resolved, if it is one of this model's.

        Raises: InputError naming the field at fault.
        """
        if requested.model != self.name:
            raise InputError(f"must be {self.name!r}, got {requested.model!r}", "model")
        if requested.version != self.version:
            raise InputError(f"must be {self.version!r}, got {requested.version!r}", "version")
        self._check_latent(requested)
        try:
            plain = self.addresses(requested.seed, requested.index, 1, requested.label, requested.psi)[0]
        except InputError as error:
            raise InputError(error.reason, "label" if error.field == "labels" else error.field) from None
        if requested.is_plain:
            return plain
        self._check_directions(requested)
        resolved = replace(requested, label=plain.label, tolabel=self._resolve_tolabel(requested, plain.label))
        return self._fit_level_edits(resolved) if resolved.edits_levels else resolved

    def parse_address(self, text: str) -> Address:
        """Return the address that a text says, checked and completed as `check` does.

        Raises: InputError naming the part at fault, with the classes where a label is no number.
        """
        try:
            return self.check(Address.parse(text))
        except InputError as error:
            raise self.explain(error, text) from None

    def explain(self, error: InputError, text: str) -> InputError:
        """Return the error of an address that cannot be parsed, with the classes where its label is no number.

        Args: text, of the address.
        """
        parts = [part.partition("=")[::2] for part in text.partition("?")[2].split("&")]
        values = [value for name, value in parts if name == error.field]
        if error.field not in LABEL_FIELDS or not self.class_names or len(values) != 1 or values[0].isdecimal():
            return error
        return InputError(self._classes.describe_text(values[0], error.field), error.field)

    def latent_addresses(
        self, latents: Sequence[ArrayLike] | NDArray[Any], labels: LabelSpec = None, psi: float = 1.0
    ) -> list[Address]:
        """Return the addresses of latents that are written out.

        Args:
            latents: each z_dim numbers from -16 to 16; rounded to float32.
            labels: one label for all, one per image, or "balanced" (position modulo the number of classes); None
                only for a model without classes, because there is no stream to draw one from.
            psi: as for `addresses`.
        Raises: InputError naming the field at fault, such as latents[3].
        """
        if labels is None and self.class_names:
            raise InputError(NO_STREAM, "labels")
        plain = self.addresses(0, 0, len(latents), labels, psi)
        addresses: list[Address] = []
        for k, (latent, a) in enumerate(zip(latents, plain)):
            packed = pack_latent(latent, f"latents[{k}]")
            self._check_size(packed, f"latents[{k}]")
            addresses.append(Address(self.name, self.version, label=a.label, psi=a.psi, latent=packed))
        return addresses

    @property
    def _classes(self) -> Classes:
        return Classes(self.class_names, self.label_values, self.continuous_label)

    def class_name(self, label: int | None) -> str | None:
        """Return the name of a label's class, None for None."""
        return None if label is None else self.class_names[label]

    def _check_latent(self, requested: Address) -> None:
        """Check what is said of the latent's own values."""
        if requested.latent is not None:
            self._check_size(requested.latent, "latent")
            if requested.label is None and self.class_names:
                raise InputError(NO_STREAM, "label")
        # By dimension, so the last is the largest.
        if requested.z and (k := requested.z[-1][0]) >= self.latents.z_dim:
            raise InputError(f"the dimensions of a latent are 0 to {self.latents.z_dim - 1}", f"z{k}")

    def _check_directions(self, requested: Address) -> None:
        for name, _ in requested.directions:
            if name not in self.directions:
                known = ", ".join(self.directions) or "none; ganmint directions finds some"
                raise InputError(f"the directions of {self.name} {self.version} are: {known}", name_direction(name))

    def _check_size(self, latent: bytes, field: str) -> None:
        if (size := len(latent) // 4) != self.latents.z_dim:
            message = f"has {size} numbers; a latent of {self.name} {self.version} has {self.latents.z_dim}"
            raise InputError(message, field)

    def _refuse_label(self, field: str) -> InputError:
        return InputError(f"{self.name} {self.version} has no classes; leave it out", field)

    def _resolve_tolabel(self, requested: Address, label: int | None) -> int | None:
        """Return the class of the second latent, None where it is the first one's: `label`."""
        tolabel = requested.tolabel
        if requested.to is None:
            return None
        if not self.class_names:
            if tolabel is not None:
                raise self._refuse_label("tolabel")
            return None
        if tolabel is not None:
            self._classes.find(tolabel, "tolabel")
        elif requested.label is None:
            tolabel = draw_label(*requested.to, self.latents.z_dim, len(self.class_names))
        if tolabel is None or tolabel == label:
            return None
        if self.schema_version == 1:
            raise InputError(
                f"{self.name} {self.version} is of schema 1 and cannot mix classes; give label alone, for both ends, "
                "or make a version that can: ganmint models upgrade",
                "tolabel",
            )
        return tolabel

    def _fit_level_edits(self, resolved: Address) -> Address:
        if self.schema_version == 1:
            message = f"{self.name} {self.version} is of schema 1, whose feature maps cannot be edited; make a version"
            raise InputError(f"{message} that can: ganmint models upgrade", "paste" if resolved.paste else "units")
        levels = list_levels(GeneratorConfig.model_validate(self.network).network)
        return fit_level_edits(resolved, levels, self.latents.z_dim, len(self.class_names))

    def _resolve_labels(self, seed: int, index: int, n: int, label_spec: LabelSpec) -> list[int | None]:
        num_classes = len(self.class_names)
        if not num_classes:
            if label_spec is not None:
                raise self._refuse_label("labels")
            return [None] * n
        if label_spec is None:
            return [draw_label(seed, index + k, self.latents.z_dim, num_classes) for k in range(n)]
        if label_spec == "balanced":
            return [(index + k) % num_classes for k in range(n)]
        classes = self._classes
        if isinstance(label_spec, str) or not isinstance(label_spec, Sequence):
            return [classes.find(label_spec, "labels")] * n
        if len(label_spec) != n:
            raise InputError(f"has {len(label_spec)} entries for n = {n} images; give one per image", "labels")
        return [classes.find(label, f"labels[{k}]") for k, label in enumerate(label_spec)]


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact folder.

    Raises: ArtifactError naming the file and the field.
    """
    path = folder / MANIFEST_FILE
    try:
        return parse_manifest(path.read_bytes(), path)
    except FileNotFoundError:
        raise ArtifactError(path, "is missing; this is not an artifact folder") from None
    except OSError as error:
        raise ArtifactError(path, f"cannot be read: {error.strerror or error}") from None


def parse_manifest(data: bytes, path: Path) -> Manifest:
    """Parse the bytes of manifest.json.

    Args: path, of the file, for messages.
    Raises: ArtifactError naming the file and the field.
    """
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ArtifactError(path, f"is not a valid manifest: {describe_first_problem(error)}") from None


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of manifest.json."""
    return manifest.model_dump_json(indent=2).encode() + b"\n"


def _check(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except InputError as error:
        raise ValueError(error.reason) from None
