"""The address of an image: its parts, their bounds, and its one canonical text.

The text is also the path of the image's permanent URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from models.address_numbers import (
    check_integer,
    format_decimal,
    is_decimal,
    parse_decimal,
    parse_integer,
)
from models.errors import InputError
from models.latent_edits import (
    check_dimensions,
    check_directions,
    is_dimension_name,
    is_direction_name,
    name_direction,
    parse_dimension,
    parse_direction,
)
from models.latents import decode_latent, encode_latent
from models.level_edits import (
    Paste,
    UnitEdit,
    check_pastes,
    check_unit_edits,
    get_place,
    is_unit_name,
    parse_paste,
    parse_unit_edit,
)

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
# [0-9], because \d matches the digits of every script.
_NUMBER = r"(?:0|[1-9][0-9]{0,5})"
VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
_TEXT = re.compile(r"([^/?#]+)/([^/?#]+)/([^/?#\n]+)/([^/?#\n]+)(?:\?([^#\n]+))?")
_PSI = re.compile(r"[0-9]*\.?[0-9]+(?:e-[0-9]{1,3})?")
_FORM = "model/version/seed/index?label=L&psi=P or model/version/z/LATENT?label=L&psi=P"
_PARTS = "label=L, psi=P, to=SEED.INDEX, tolabel=L, at=T, zK=V, dir.NAME=V, paste=... and uL.U=V"
MAX_LENGTH = 2048
# The parts that are numbers of classes.
LABEL_FIELDS = ("label", "tolabel")


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


def check_psi(psi: float, field: str = "psi") -> float:
    """Return psi as a float if it is in (0, 1].

    Raises: InputError.
    """
    if isinstance(psi, bool) or not isinstance(psi, (int, float)) or not 0 < psi <= 1:
        raise InputError(f"must be a number above 0 and at most 1, got {psi!r}", field)
    return float(psi)


@dataclass(frozen=True, slots=True)
class Address:
    """(model, version, seed, index, label, psi) and edits: an image is a pure function of these.

    Attributes:
        model, version: which generator.
        seed, index: 0 .. 2^53 - 1; they choose the latent. Both are 0 where `latent` is given.
        label: the class, or None where the model has none.
        psi: truncation, in (0, 1]; scales the latent, after all edits.
        latent: float32, little-endian, in place of the one that seed and index choose (`models.latents.pack_latent`).
        to: seed and index of a second latent, which the first is mixed with.
        tolabel: the class of the second, where it differs from `label`.
        at: the share of the second, above 0 and below 1, with at most 4 decimals.
        z: (dimension, value) of each dimension of the mixed latent that is set, by dimension. Values are from -16
            to 16, with at most 4 decimals.
        directions: (name, value) of each of the model's directions along which the latent is moved, by name. Values
            are from -16 to 16, with at most 4 decimals, and not 0.
        paste: rectangles of feature maps that are another image's, by level and rectangle; at most 4.
        units: feature maps that are set to a value, by level and unit; at most 64.
    """

    model: str
    version: str
    seed: int = 0
    index: int = 0
    label: int | None = None
    psi: float = 1.0
    latent: bytes | None = None
    to: tuple[int, int] | None = None
    tolabel: int | None = None
    at: float | None = None
    z: tuple[tuple[int, float], ...] = ()
    directions: tuple[tuple[str, float], ...] = ()
    paste: tuple[Paste, ...] = ()
    units: tuple[UnitEdit, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.model)
        check_version(self.version)
        check_integer(self.seed, "seed")
        check_integer(self.index, "index")
        if self.label is not None:
            check_integer(self.label, "label")
        check_psi(self.psi)
        if self.is_plain:
            return
        self._check_latent()
        self._check_mix()
        check_dimensions(self.z)
        check_directions(self.directions)
        check_pastes(self.paste)
        check_unit_edits(self.units)
        _check_length(str(self))

    @property
    def is_plain(self) -> bool:
        """Whether seed, index, label and psi say it all."""
        has_mix = self.to is not None or self.tolabel is not None or self.at is not None
        is_moved = bool(self.z or self.directions)
        return self.latent is None and not has_mix and not is_moved and not self.edits_levels

    @property
    def edits_levels(self) -> bool:
        """Whether feature maps inside the generator are edited, and not only what it is given."""
        return bool(self.paste or self.units)

    @property
    def start(self) -> tuple[int, int] | None:
        """Seed and index of the first latent; None where it is written out."""
        return None if self.latent is not None else (self.seed, self.index)

    def __str__(self) -> str:
        """Return the canonical text, e.g. digits/1.0.0/7/0?label=3&psi=0.7; psi is left out when it is 1."""
        query = [] if self.label is None else [f"label={self.label}"]
        if self.psi != 1.0:
            query.append(f"psi={float(self.psi)!r}")
        if self.to is not None:
            query.append(f"to={self.to[0]}.{self.to[1]}")
        if self.tolabel is not None:
            query.append(f"tolabel={self.tolabel}")
        if self.at is not None:
            query.append(f"at={format_decimal(self.at)}")
        query += [f"z{k}={format_decimal(value)}" for k, value in self.z]
        query += [f"{name_direction(name)}={format_decimal(value)}" for name, value in self.directions]
        query += [f"paste={paste}" for paste in self.paste]
        query += [f"{edit.name}={edit}" for edit in self.units]
        start = f"{self.seed}/{self.index}" if self.latent is None else f"z/{encode_latent(self.latent)}"
        path = f"{self.model}/{self.version}/{start}"
        return f"{path}?{'&'.join(query)}" if query else path

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address; str() of the result is the canonical text.

        Raises: InputError naming the part at fault.
        """
        _check_length(text)
        match = _TEXT.fullmatch(text)
        if not match:
            raise InputError(f"{text!r} is not of the form {_FORM}", "address")
        model, version, seed, index, query = match.groups()
        check_name(model)
        check_version(version)
        parts = parse_query(query) if query else {}
        if seed == "z":
            return cls(model, version, latent=decode_latent(index), **parts)
        return cls(model, version, parse_integer(seed, "seed"), parse_integer(index, "index"), **parts)

    def _check_latent(self) -> None:
        if self.latent is None:
            return
        if not isinstance(self.latent, bytes):
            raise InputError("must be bytes, as models.latents.pack_latent makes them", "latent")
        decode_latent(encode_latent(self.latent))
        if self.seed or self.index:
            raise InputError("must be 0 beside a latent that is written out", "seed" if self.seed else "index")
        if self.z:
            raise InputError("changes a latent that is written out; write the value into it", f"z{self.z[0][0]}")

    def _check_mix(self) -> None:
        if self.to is None:
            for field, value in (("tolabel", self.tolabel), ("at", self.at)):
                if value is not None:
                    raise InputError("is of no use without to=SEED.INDEX", field)
            return
        if not isinstance(self.to, tuple) or len(self.to) != 2:
            raise InputError(f"must be a seed and an index, got {self.to!r}", "to")
        for number in self.to:
            check_integer(number, "to")
        if self.at is None:
            raise InputError("is missing: the share of the second latent, above 0 and below 1, such as 0.5", "at")
        if not is_decimal(self.at, 0.0001, 0.9999):
            raise InputError(f"must be above 0 and below 1, with at most 4 decimals, got {self.at!r}", "at")
        if self.tolabel is not None:
            check_integer(self.tolabel, "tolabel")
        if self.tolabel is not None and self.tolabel == self.label:
            raise InputError("changes nothing, because it equals label; leave it out", "tolabel")
        if self.to == self.start and self.tolabel is None:
            raise InputError("changes nothing, because it is the seed and the index of the address itself", "to")


def parse_query(query: str) -> dict[str, Any]:
    """Parse what follows the question mark into `Address`'s arguments.

    Raises: InputError naming the part at fault.
    """
    parts: dict[str, Any] = {}
    z: dict[int, float] = {}
    directions: dict[str, float] = {}
    pastes: list[Paste] = []
    units: list[UnitEdit] = []
    for name, value in _split_query(query):
        if name == "paste":
            pastes.append(parse_paste(value))
        elif is_unit_name(name):
            units.append(parse_unit_edit(name, value))
        elif is_dimension_name(name):
            z[parse_dimension(name)] = parse_decimal(value, name)
        elif is_direction_name(name):
            directions[parse_direction(name)] = parse_decimal(value, name)
        else:
            parts[name] = _PARSERS[name](value, name)
    lists: dict[str, list[Any]] = {
        "z": sorted(z.items()),
        "directions": sorted(directions.items()),
        "paste": sorted(pastes, key=get_place),
        "units": sorted(units),
    }
    return parts | {name: tuple(values) for name, values in lists.items() if values}


def _split_query(query: str) -> list[tuple[str, str]]:
    """Split a query into names and values. Nothing is unescaped, because nothing in an address needs escaping."""
    fields: list[tuple[str, str]] = []
    names = set()
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in _PARSERS and name != "paste" and not any(is_edit(name) for is_edit in _EDIT_NAMES):
            what = f"unknown part {part[:60]!r}" if part else "an empty part: an & too many"
            raise InputError(f"{what}; the parts are {_PARTS}", "address")
        if name in names and name != "paste":
            raise InputError("is given twice", name)
        names.add(name)
        fields.append((name, value))
    return fields


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InputError(f"has {len(text)} characters; an address has at most {MAX_LENGTH}", "address")


def _parse_psi(text: str, field: str) -> float:
    if not _PSI.fullmatch(text):
        raise InputError(f"must be a number above 0 and at most 1, got {text!r}", field)
    return float(text)


def _parse_to(text: str, field: str) -> tuple[int, int]:
    seed, dot, index = text.partition(".")
    if not dot:
        raise InputError(f"must be SEED.INDEX such as 7.0, got {text[:40]!r}", field)
    return parse_integer(seed, field), parse_integer(index, field)


_PARSERS = {
    "label": parse_integer,
    "psi": _parse_psi,
    "to": _parse_to,
    "tolabel": parse_integer,
    "at": parse_decimal,
}
_EDIT_NAMES = (is_unit_name, is_dimension_name, is_direction_name)
