"""The address of an image: its parts, their bounds, and its one canonical text.

The text is also the path of the image's permanent URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.errors import InputError
from models.latents import MAX_INTEGER

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
# [0-9], because \d matches the digits of every script.
_NUMBER = r"(?:0|[1-9][0-9]{0,5})"
VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_TEXT = re.compile(r"([^/?#]+)/([^/?#]+)/([^/?#\n]+)/([^/?#\n]+)(?:\?([^#\n]+))?")
_PSI = re.compile(r"[0-9]*\.?[0-9]+(?:e-[0-9]{1,3})?")


def check_name(name: str, field: str = "model") -> str:
    """Return the name if it can name a model.

    Raises: InputError.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a model name: 1 to 63 of a-z, 0-9, - and _, starting and ending with a letter or digit",
            field,
        )
    return name


def check_version(version: str, field: str = "version") -> str:
    """Return the version if it is valid.

    Raises: InputError.
    """
    if not VERSION.fullmatch(version):
        raise InputError(f"{version!r} is not a version: three whole numbers such as 1.0.0", field)
    return version


def check_integer(value: int, field: str) -> int:
    """Return the integer if it is in 0 .. 2^53 - 1.

    Raises: InputError.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise InputError(f"must be an integer from 0 to 2^53 - 1 ({MAX_INTEGER}), got {value!r}", field)
    return value


def check_psi(psi: float, field: str = "psi") -> float:
    """Return psi as a float if it is in (0, 1].

    Raises: InputError.
    """
    if isinstance(psi, bool) or not isinstance(psi, (int, float)) or not 0 < psi <= 1:
        raise InputError(f"must be a number above 0 and at most 1, got {psi!r}", field)
    return float(psi)


@dataclass(frozen=True, slots=True)
class Address:
    """(model, version, seed, index, label, psi): an image is a pure function of these.

    Attributes:
        model, version: which generator.
        seed, index: 0 .. 2^53 - 1; they choose the latent.
        label: the class, or None where the model has none.
        psi: truncation, in (0, 1]; scales the latent.
    """

    model: str
    version: str
    seed: int
    index: int
    label: int | None = None
    psi: float = 1.0

    def __post_init__(self) -> None:
        check_name(self.model)
        check_version(self.version)
        check_integer(self.seed, "seed")
        check_integer(self.index, "index")
        if self.label is not None:
            check_integer(self.label, "label")
        check_psi(self.psi)

    def __str__(self) -> str:
        """Return the canonical text, e.g. digits/1.0.0/7/0?label=3&psi=0.7; psi is left out when it is 1."""
        query = [] if self.label is None else [f"label={self.label}"]
        if self.psi != 1.0:
            query.append(f"psi={float(self.psi)!r}")
        path = f"{self.model}/{self.version}/{self.seed}/{self.index}"
        return f"{path}?{'&'.join(query)}" if query else path

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address; str() of the result is the canonical text.

        Raises: InputError naming the part at fault.
        """
        match = _TEXT.fullmatch(text)
        if not match:
            raise InputError(f"{text!r} is not of the form model/version/seed/index?label=L&psi=P", "address")
        model, version, seed, index, query = match.groups()
        check_name(model)
        check_version(version)
        fields = _split_query(query) if query else {}
        return cls(
            model=model,
            version=version,
            seed=_parse_integer(seed, "seed"),
            index=_parse_integer(index, "index"),
            label=_parse_integer(fields["label"], "label") if "label" in fields else None,
            psi=_parse_psi(fields["psi"]) if "psi" in fields else 1.0,
        )


def _split_query(query: str) -> dict[str, str]:
    """Split a query into its fields. Nothing is unescaped, because nothing in an address needs escaping."""
    fields: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in ("label", "psi"):
            raise InputError(f"unknown part {part!r}", "address")
        if name in fields:
            raise InputError("is given twice", name)
        fields[name] = value
    return fields


def _parse_integer(text: str, field: str) -> int:
    # 16 digits are enough for 2^53; int() of thousands of digits raises an error of its own.
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", text):
        raise InputError(f"must be a whole number from 0 to 2^53 - 1, got {text[:40]!r}", field)
    return int(text)


def _parse_psi(text: str) -> float:
    if not _PSI.fullmatch(text):
        raise InputError(f"must be a number above 0 and at most 1, got {text!r}", "psi")
    return float(text)
