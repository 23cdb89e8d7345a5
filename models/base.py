"""The base of all typed data, and the problems that its validation finds."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError


class Frozen(BaseModel):
    """Immutable data: an unknown field is an error, and every number is finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    return [
        FieldProblem(tuple(item["loc"]), item["type"], item["msg"].removeprefix("Value error, "))
        for item in error.errors(include_url=False, include_input=False)
    ]


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
