"""The classes that a caller asks for: by number, by name, or by the value of each label."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from models.errors import InputError

# The class's number, its name, or its value in each label, such as {"gender": "female", "age": "60+"}.
Label = int | str | Mapping[str, str]
# One label for all images, one per image, "balanced" (index modulo the number of classes), or drawn from the seed.
LabelSpec = Label | Sequence[Label] | Literal["balanced"] | None


def parse_labels(text: str) -> LabelSpec:
    """Read labels from a command's argument: numbers or names, a list of them, name=value pairs, or "balanced"."""
    parts = text.split(",")
    if all("=" in part for part in parts):
        return {name: value for name, _, value in (part.partition("=") for part in parts)}
    labels = [int(part) if re.fullmatch(r"-?[0-9]{1,9}", part) else part for part in parts]
    return labels if len(labels) > 1 else labels[0]


class Classes(NamedTuple):
    """The classes of a model.

    Attributes:
        names: in label order.
        values: for each label that the classes are combinations of, its value in every class; empty if there is one
            label only.
    """

    names: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]

    def find(self, label: Any, field: str) -> int:
        """Return the number of the class that a label stands for.

        Raises: InputError for `field`.
        """
        if isinstance(label, Mapping):
            return self._find_by_values(label, field)
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(self.names):
            known = ", ".join(self.names)
            names = " or a class's name" if isinstance(label, str) else ""
            raise InputError(f"must be from 0 to {len(self.names) - 1}{names} ({known}), got {label!r}", field)
        return label

    def _find_by_values(self, wanted: Mapping[Any, Any], field: str) -> int:
        if not self.values:
            raise InputError("names labels, but the model has one only; give the class's number or name", field)
        if unknown := [name for name in wanted if name not in self.values]:
            raise InputError(f"has the label {unknown[0]!r}; there are {', '.join(self.values)}", field)
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
