"""The classes that a caller asks for: by number, by name, or by the value of each label.

The classes of a continuous label are the values of an even scale, in order: asked for a value, it is the nearest one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from models.errors import InputError

# The class's number, its name, or its value in each label, such as {"gender": "female", "age": "60+"} or {"age": 37.5}.
Label = int | str | Mapping[str, str | float]
# One label for all images, one per image, "balanced" (index modulo the number of classes), or drawn from the seed.
LabelSpec = Label | Sequence[Label] | Literal["balanced"] | None


def parse_labels(text: str) -> LabelSpec:
    """Read labels from a command's argument: one as `parse_label` reads it, a list of classes, or "balanced".

    Raises: InputError for labels, as `parse_label`.
    """
    label = parse_label(text, "labels")
    return [_read_class(part) for part in label.split(",")] if isinstance(label, str) and "," in label else label


def parse_label(text: str, field: str) -> Label:
    """Read one label from a command's argument: a class's number or name, or the values of labels.

    Values are name=value pairs, or a JSON object, as over HTTP.

    Raises: InputError for `field`: a name has two values, or the text begins like a JSON object and is none.
    """
    if text.lstrip().startswith("{"):
        return _parse_object(text, field)
    parts = text.split(",")
    if all("=" in part for part in parts):
        pairs = [(name, value) for name, _, value in (part.partition("=") for part in parts)]
        return _collect_values(pairs, text, field)
    return _read_class(text)


def _read_class(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _parse_object(text: str, field: str) -> Mapping[str, Any]:
    try:
        values: dict[str, Any] = json.loads(text, object_pairs_hook=lambda pairs: _collect_values(pairs, text, field))
    except ValueError:
        raise InputError(f"is no JSON object: {text}; without quotes and braces it is NAME=VALUE", field) from None
    return values


def _collect_values(pairs: Sequence[tuple[str, Any]], text: str, field: str) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise InputError(f"gives a label two values: {text}", field)
    return values


class Classes(NamedTuple):
    """The classes of a model.

    Attributes:
        names: in label order.
        values: for each label that the classes are combinations of, its value in every class; empty if there is one
            label only.
        continuous: the label whose values the names are, as numbers on an even scale; "" if there is none.
    """

    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    continuous: str = ""

    def find(self, label: Any, field: str) -> int:
        """Return the number of the class that a label stands for.

        Raises: InputError for `field`.
        """
        if isinstance(label, Mapping):
            return self._find_by_values(label, field)
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(self.names):
            raise InputError(f"{self._requirement(isinstance(label, str))}, got {label!r}", field)
        return label

    def describe_text(self, text: str, field: str) -> str:
        """Say what is wrong with a text in an address, in which a label is a number.

        Args:
            text: percent-encoded or not.
            field: `label` or `tolabel`.
        """
        # What is no UTF-8 is shown as it stands.
        decoded = text if "\ufffd" in unquote(text) else unquote(text)
        names = f"{self.continuous} {self.names[0]} to {self.names[-1]}" if self.continuous else ", ".join(self.names)
        number = f": {field}={self.names.index(decoded)}" if decoded in self.names else ""
        got = f"got {decoded[:60]!r}; an address has the class's number{number}"
        return f"must be from 0 to {len(self.names) - 1} ({names}), {got}"

    def _requirement(self, is_text: bool) -> str:
        """Return what a label must be, if it is not given by values."""
        last = len(self.names) - 1
        if not self.continuous:
            name = " or a class's name" if is_text else ""
            return f"must be from 0 to {last}{name} ({', '.join(self.names)})"
        value = f"{{{json.dumps(self.continuous, ensure_ascii=False)}: VALUE}}"
        scale = f"a value of {self.continuous} from {self.names[0]} to {self.names[-1]}"
        return f"must be {scale} as {value}, or a class's number from 0 to {last}"

    def _find_by_values(self, wanted: Mapping[Any, Any], field: str) -> int:
        if not self.values:
            raise InputError("names labels, but the model has one only; give the class's number or name", field)
        if unknown := [name for name in wanted if name not in self.values]:
            raise InputError(f"has the label {unknown[0]!r}; there are {', '.join(self.values)}", field)
        if self.continuous in wanted:
            return self._find_nearest(wanted[self.continuous], f"{field}.{self.continuous}")
        for name, value in wanted.items():
            if value not in self.values[name]:
                known = ", ".join(dict.fromkeys(self.values[name]))
                raise InputError(f"must be one of {known}, got {value!r}", f"{field}.{name}")
        found = [k for k in range(len(self.names)) if all(self.values[name][k] == wanted[name] for name in wanted)]
        if len(found) != 1:
            missing = ", ".join(name for name in self.values if name not in wanted)
            why = f"fits {len(found)} classes; give {missing}, too" if found else "is a combination without a class"
            raise InputError(why, field)
        return found[0]

    def _find_nearest(self, wanted: Any, field: str) -> int:
        """Return the class of the continuous label whose value is nearest."""
        smallest, largest = float(self.names[0]), float(self.names[-1])
        value = read_number(wanted)
        # Not a number is not in the range either.
        if not smallest <= value <= largest:
            raise InputError(f"must be a number from {self.names[0]} to {self.names[-1]}, got {wanted!r}", field)
        return round((value - smallest) / (largest - smallest) * (len(self.names) - 1))


def read_number(value: Any) -> float:
    """Return a number, also one that is written as text; not a number for anything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
