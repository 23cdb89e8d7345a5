"""The address of an image.

Knows: what identifies an image, its one canonical text, and the bounds of each part. The text is
also the path of the image's permanent URL. Does not know: which models exist, or how pixels come.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from models.errors import InputError
from models.latents import MAX_INTEGER

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
VERSION = re.compile(r"(?:0|[1-9]\d{0,5})\.(?:0|[1-9]\d{0,5})\.(?:0|[1-9]\d{0,5})")
_TEXT = re.compile(r"([^/?]+)/([^/?]+)/(0|[1-9]\d*)/(0|[1-9]\d*)(?:\?(.*))?")


def check_name(name: str, field: str = "model") -> str:
    """The name itself, if it can name a model.

    Raises: InputError.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a model name: 1 to 63 of a-z, 0-9, - and _, starting and ending with a letter or digit",
            field,
        )
    return name


def check_version(version: str, field: str = "version") -> str:
    """The version itself, if it is one.

    Raises: InputError.
    """
    if not VERSION.fullmatch(version):
        raise InputError(f"{version!r} is not a version: three whole numbers such as 1.0.0", field)
    return version


def check_integer(value: int, field: str) -> int:
    """The integer itself, if it is in 0 .. 2^53 - 1.

    Raises: InputError.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise InputError(f"must be an integer from 0 to 2^53 - 1 ({MAX_INTEGER}), got {value!r}", field)
    return value


def check_psi(psi: float, field: str = "psi") -> float:
    """psi as a float, if it is in (0, 1].

    Raises: InputError.
    """
    if isinstance(psi, bool) or not isinstance(psi, (int, float)) or not 0 < psi <= 1:
        raise InputError(f"must be a number above 0 and at most 1, got {psi!r}", field)
    return float(psi)


@dataclass(frozen=True, slots=True)
class SampleAddress:
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
        """The canonical text, e.g. digits/1.0.0/7/0?label=3&psi=0.7; psi is left out when it is 1."""
        query = [] if self.label is None else [f"label={self.label}"]
        if self.psi != 1.0:
            query.append(f"psi={float(self.psi)!r}")
        path = f"{self.model}/{self.version}/{self.seed}/{self.index}"
        return f"{path}?{'&'.join(query)}" if query else path

    @classmethod
    def parse(cls, text: str) -> SampleAddress:
        """The address that a text names; str() of the result is canonical.

        Raises: InputError naming the part at fault.
        """
        match = _TEXT.fullmatch(text)
        if not match:
            raise InputError(f"{text!r} is not of the form model/version/seed/index?label=L&psi=P", "address")
        model, version, seed, index, query = match.groups()
        fields = dict(parse_qsl(query or "", keep_blank_values=True))
        unknown = fields.keys() - {"label", "psi"}
        if unknown:
            raise InputError(f"unknown part {sorted(unknown)[0]!r}", "address")
        label = _integer(fields["label"], "label") if "label" in fields else None
        return cls(model, version, int(seed), int(index), label, _psi(fields.get("psi", "1")))


def _integer(text: str, field: str) -> int:
    if not re.fullmatch(r"0|[1-9]\d{0,15}", text):
        raise InputError(f"must be a whole number, got {text!r}", field)
    return int(text)


def _psi(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"must be a number above 0 and at most 1, got {text!r}", "psi") from None
