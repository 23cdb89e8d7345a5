"""What the API description (/openapi.json) says of several routes: parts of a path, edits, refusals."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path

from models.address import NAME, VERSION
from service import errors
from service.schemas import Problem

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": title, "content": {errors.MEDIA_TYPE: {}}}
    for status, title in errors.TITLES.items()
    if status != 499
}
MANIFEST_PROBLEMS: dict[int | str, dict[str, Any]] = {status: PROBLEMS[status] for status in (404, 422, 503)}
# For the API description only; models.address refuses what is wrong, with its own error texts.
NamePath = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"}, examples=["digits"])]
VersionPath = Annotated[str, Path(json_schema_extra={"pattern": f"^{VERSION.pattern}$"}, examples=["1.0.0"])]
SeedPath = Annotated[str, Path(json_schema_extra={"pattern": "^(z|0|[1-9][0-9]{0,14})$"}, examples=["7"])]
IndexPath = Annotated[str, Path(json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"}, examples=["0"])]
EDITS = [
    {"name": "label", "in": "query", "schema": {"type": "integer", "minimum": 0}},
    {"name": "psi", "in": "query", "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}},
    {"name": "to", "in": "query", "schema": {"type": "string", "pattern": r"^[0-9]{1,16}\.[0-9]{1,16}$"}},
    {"name": "tolabel", "in": "query", "schema": {"type": "integer", "minimum": 0}},
    {"name": "at", "in": "query", "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}},
    {
        "name": "paste",
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string", "pattern": r"^[0-9]+_[0-9]+\.[0-9]+(_[0-9]+){4,5}$"}},
    },
]
