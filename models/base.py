"""The base of all typed data, and the problems that its validation finds."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import ErrorDetails


class Frozen(BaseModel):
    """Immutable data: an unknown field is an error, and every number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _read_switch(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return value


# For a part that may be None: true turns it on as {} does, with its defaults, and false off.
SWITCH = BeforeValidator(_read_switch)


class Record(Frozen):
    """Data in files that outlive the version that wrote them, some of which are hashed or compared byte by byte.

    A field that came later is written only where it is not its default: what does without it stays the same bytes, and
    is read by older versions, too.

    Attributes:
        first_fields: those that every version has.
    """

    first_fields: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _leave_out_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        for name, field in type(self).model_fields.items():
            if name not in self.first_fields and getattr(self, name) == field.get_default(call_default_factory=True):
                data.pop(name, None)
        return data


# Longer texts are not repeated in an error.
MAX_VALUE_LENGTH = 40
_WHOLE_NUMBER = "must be a whole number"
_MAPPING = "must be a mapping such as {name: value}"
# Instead of pydantic's own messages, by its names of the rules.
_MESSAGES = {
    "missing": "is required",
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
}
# Not a pattern's: the text may be a secret in the wrong place.
_WITH_VALUE = {
    *(kind for kind in _MESSAGES if kind not in ("missing", "dict_type")),
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number", "literal_error"),
}


class FieldProblem(NamedTuple):
    """What is wrong with one field.

    Attributes:
        path: keys and list indices that lead to the field; empty for the whole value.
        kind: pydantic's name for the rule that was broken, such as `extra_forbidden`.
        message: what is wrong, in words.
    """

    path: tuple[str | int, ...]
    kind: str
    message: str

    @property
    def field(self) -> str:
        """The path as text, such as `data.labels[0].column`; empty for the whole value."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).removeprefix(".")


def list_problems(error: ValidationError) -> list[FieldProblem]:
    """Return every problem, in the order of the fields."""
    return [FieldProblem(tuple(item["loc"]), item["type"], _describe(item)) for item in error.errors(include_url=False)]


def _describe(item: ErrorDetails) -> str:
    """Return pydantic's message in the words of the other errors, with the value where it is short."""
    kind = item["type"]
    message = _MESSAGES.get(kind) or item["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    value = item["input"]
    is_short = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= MAX_VALUE_LENGTH)
    return f"{message}, got {value!r}" if is_short and kind in _WITH_VALUE else message


def first_problem(error: ValidationError) -> FieldProblem:
    """Return the first problem: error messages name one field at a time."""
    return list_problems(error)[0]


def describe_first_problem(error: ValidationError, whole: str = "the file") -> str:
    """Return `field: message` for the first problem.

    Args:
        error: what pydantic raised.
        whole: what the value is called where no single field is at fault.
    """
    problem = first_problem(error)
    return f"{problem.field or whole}: {problem.message}"
