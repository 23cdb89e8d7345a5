"""The fields of the HTTP interface, with their types and bounds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from models.address import NAME, VERSION
from models.images import MediaType
from models.labels import Label
from models.latents import MAX_INTEGER, MAX_VALUE
from models.verification import Verification

# For the API description only; models.address refuses what is wrong, with its own error texts.
_NAME: dict[str, Any] = {"pattern": f"^{NAME.pattern}$"}
_VERSION: dict[str, Any] = {"pattern": f"^{VERSION.pattern}$"}
Integer = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
LatentValue = Annotated[float, Field(strict=True, ge=-MAX_VALUE, le=MAX_VALUE, allow_inf_nan=False)]


class GenerateRequest(BaseModel):
    """The body of POST /generate."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"model": "digits", "seed": 7, "n": 16, "labels": "balanced"}]},
    )

    model: Annotated[str, Field(strict=True, description="a name that GET /v1/models lists", json_schema_extra=_NAME)]
    version: Annotated[
        str | None, Field(strict=True, description="default: the newest version", json_schema_extra=_VERSION)
    ] = None
    seed: Annotated[Integer | None, Field(description="0 .. 2^53-1; default: the server picks one and returns it")] = (
        None
    )
    index: Annotated[Integer, Field(description="index of the first image; the others follow")] = 0
    n: Annotated[int, Field(strict=True, ge=1, description="number of images")] = 1
    labels: Annotated[
        Label | list[Label] | None,
        Field(
            description='one for all, one per image, "balanced" (index modulo classes), or null: drawn from the seed. '
            'A label is the number or name of a class, or its value in each label: {"gender": "female", "age": "60+"}, '
            'or {"age": 37.5} where a label is continuous'
        ),
    ] = None
    psi: Annotated[
        float,
        Field(strict=True, gt=0, le=1, description="truncation: below 1, images are more typical and less varied"),
    ] = 1.0
    latents: Annotated[
        list[list[LatentValue]] | None,
        Field(
            min_length=1,
            description="latents that are written out, one per image, in place of seed, index and n; z_dim numbers "
            "each, rounded to float32; a model with classes needs labels, too",
        ),
    ] = None

    @property
    def num_images(self) -> int:
        """The number of images that are asked for."""
        return self.n if self.latents is None else len(self.latents)

    @field_validator("latents")
    @classmethod
    def _check_latents(cls, value: list[list[float]] | None, info: ValidationInfo) -> list[list[float]] | None:
        if value is None:
            return None
        if info.data.get("seed") is not None or info.data.get("index"):
            raise ValueError("are given beside seed or index; leave these out")
        if info.data.get("n", 1) not in (1, len(value)):
            raise ValueError(f"are {len(value)}, but n is {info.data['n']}; leave n out")
        return value

    @field_validator("labels", mode="before")
    @classmethod
    def _check_label_spec(cls, value: Any) -> Any:
        def is_label(v: Any) -> bool:
            if isinstance(v, dict):
                return all(isinstance(part, (str, int, float)) and not isinstance(part, bool) for part in v.values())
            return isinstance(v, (int, str)) and not isinstance(v, bool)

        if value is None or is_label(value):
            return value
        if isinstance(value, list) and all(map(is_label, value)):
            return value
        raise ValueError(
            'must be the number or name of a class, an object of labels and values, a list of these, "balanced" or null'
        )


class GeneratedImage(BaseModel):
    """One image of a response; its address reproduces it."""

    address: str
    index: int = Field(description="where latents were given, the position among them")
    label: int | None
    label_name: str | None
    psi: float
    media_type: MediaType
    b64: str = Field(description="the image file as base64")


class GenerateResponse(BaseModel):
    """The JSON response to POST /generate."""

    model: str
    version: str
    seed: int | None = Field(description="null where latents were given")
    images: list[GeneratedImage]


class VerifyResponse(Verification):
    """The JSON response to POST /v1/verify."""

    difference: str | None = Field(
        description="where pixels differ: the picture in dark grey with those in red to yellow, a PNG as base64"
    )


class ProblemField(BaseModel):
    """One field at fault."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemField] = []
