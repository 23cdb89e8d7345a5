"""Requests and answers as types.

Knows: the fields of the HTTP interface, their types and bounds. Does not know: which models exist.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from models.address import NAME, VERSION
from models.images import MediaType
from models.latents import MAX_INTEGER

# For the API description only: what is wrong is said by models.address, in its own words.
_NAME: dict[str, Any] = {"pattern": f"^{NAME.pattern}$"}
_VERSION: dict[str, Any] = {"pattern": f"^{VERSION.pattern}$"}
Integer = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]


class GenerateRequest(BaseModel):
    """The body of POST /generate."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"model": "digits", "seed": 7, "n": 16, "labels": "balanced"}]},
    )

    model: Annotated[str, Field(strict=True, description="as GET /v1/models lists them", json_schema_extra=_NAME)]
    version: Annotated[
        str | None, Field(strict=True, description="default: the newest", json_schema_extra=_VERSION)
    ] = None
    seed: Annotated[Integer | None, Field(description="0 .. 2^53-1; left out: the server picks one and says which")] = (
        None
    )
    index: Annotated[Integer, Field(description="of the first image; the others follow")] = 0
    n: Annotated[int, Field(strict=True, ge=1, description="how many images")] = 1
    labels: Annotated[
        int | list[int] | Literal["balanced"] | None,
        Field(
            description='one for all, one per image, "balanced" (index modulo classes), or null: drawn from the seed'
        ),
    ] = None
    psi: Annotated[
        float, Field(strict=True, gt=0, le=1, description="truncation: below 1 is calmer and less varied")
    ] = 1.0

    @field_validator("labels", mode="before")
    @classmethod
    def _one_of_four_forms(cls, value: Any) -> Any:
        def is_label(v: Any) -> bool:
            return isinstance(v, int) and not isinstance(v, bool)

        if value is None or value == "balanced" or is_label(value):
            return value
        if isinstance(value, list) and all(map(is_label, value)):
            return value
        raise ValueError('must be a whole number, a list of them, "balanced" or null')


class GeneratedImage(BaseModel):
    """One image of an answer; its address makes it again."""

    address: str
    index: int
    label: int | None
    label_name: str | None
    psi: float
    media_type: MediaType
    b64: str = Field(description="the file, base64")


class GenerateResponse(BaseModel):
    """The answer to POST /generate as JSON."""

    model: str
    version: str
    seed: int
    images: list[GeneratedImage]


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
