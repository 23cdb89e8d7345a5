"""An address has one canonical text, and nothing that is not an address is read as one."""

from __future__ import annotations

import dataclasses
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.address import MAX_LENGTH, NAME, Address, check_name, check_psi, check_version
from models.address_numbers import check_integer
from models.errors import InputError
from models.latent_edits import DIRECTION_NAME
from models.latents import MAX_INTEGER, MAX_VALUE, encode_latent, pack_latent
from models.level_edits import Paste, Rectangle, UnitEdit, get_place

integers = st.integers(0, MAX_INTEGER)
part = st.integers(0, 999_999)
decimals = st.integers(-MAX_VALUE * 10_000, MAX_VALUE * 10_000).map(lambda n: n / 10_000)
shares = st.integers(1, 9999).map(lambda n: n / 10_000)
edits = st.dictionaries(st.integers(0, 999_999), decimals, max_size=9).map(lambda z: tuple(sorted(z.items())))
moves = st.dictionaries(st.from_regex(DIRECTION_NAME, fullmatch=True), decimals.filter(bool), max_size=4).map(
    lambda found: tuple(sorted(found.items()))
)
corners = st.tuples(*[st.integers(0, 99)] * 4).filter(lambda c: c[0] < c[2] and c[1] < c[3])
rectangles = corners.map(lambda c: Rectangle(*c))
# One in each level, so that none covers another.
pastes = st.lists(
    st.builds(Paste, st.integers(0, 9), rectangles, st.tuples(integers, integers), st.none() | integers),
    max_size=4,
    unique_by=lambda paste: paste.level,
).map(lambda found: tuple(sorted(found, key=get_place)))
unit_edits = st.lists(
    st.builds(UnitEdit, st.integers(0, 9), st.integers(0, 999), decimals, st.none() | rectangles),
    max_size=9,
    unique_by=lambda edit: (edit.level, edit.unit),
).map(lambda found: tuple(sorted(found)))
values = st.lists(st.floats(-MAX_VALUE, MAX_VALUE, width=32), min_size=1, max_size=64)


@st.composite
def make_addresses(draw: st.DrawFn) -> Address:
    """Draw any address: plain, mixed, with dimensions or feature maps set, or with its latent written out."""
    version = draw(st.builds("{}.{}.{}".format, part, part, part))
    parts: dict[str, Any] = {"label": draw(st.none() | integers)}
    parts |= {"paste": draw(st.just(()) | pastes), "units": draw(st.just(()) | unit_edits)}
    parts["directions"] = draw(st.just(()) | moves)
    parts["psi"] = draw(st.just(1.0) | st.floats(0, 1, exclude_min=True))
    if draw(st.booleans()):
        parts["latent"] = pack_latent(draw(values))
    else:
        parts |= {"seed": draw(integers), "index": draw(integers), "z": draw(st.just(()) | edits)}
    if draw(st.booleans()):
        parts |= {"to": draw(st.tuples(integers, integers)), "at": draw(shares)}
        parts["tolabel"] = draw((st.none() | integers).filter(lambda label: label is None or label != parts["label"]))
        start = (parts.get("seed"), parts.get("index"))
        assume(parts["to"] != start or parts["tolabel"] is not None)
    return Address(draw(st.from_regex(NAME, fullmatch=True)), version, **parts)


addresses = make_addresses()
BAD_SHARES = [
    "",
    "0",
    "1",
    "0.0",
    "1.0",
    "0.50",
    ".5",
    "0.",
    "-0.5",
    "0.12345",
    "2",
    "5e-1",
    "+0.5",
    "nan",
    "1/2",
    "٠.٥",
]
BAD_VALUES = [
    "",
    "-0",
    "+1",
    "1.0",
    "01",
    ".5",
    "1.",
    "16.0001",
    "-17",
    "1.00001",
    "1e1",
    "nan",
    "inf",
    "-inf",
    "1_0",
    "٣",
]
BAD_PASTES = [
    "",
    "1",
    "1_8.0",
    "1_8_0_0_1_1",
    "1_8.0_0_0_1",
    "1_8.0_1_0_0_1_1_1",
    "01_8.0_0_0_1_1",
    "1_08.0_0_0_1_1",
    "1_8.0_0_0_1_01",
    "1_8.0_0_0_1_1_",
    "1_8.0_-1_0_1_1",
    "1_8.0_0_0_0_1",
    "1_8.0_0_1_1_1",
    "1_9007199254740992.0_0_0_1_1",
    "1_8.0_9007199254740992_0_0_1_1",
    "1_8.0_0_0_1_" + "9" * 400,
    "1_8.0_0_0_1_٣",
]
LATENT = encode_latent(pack_latent([0.5, -1.0]))


@given(addresses)
def test_an_address_comes_back_from_its_text(address: Address) -> None:
    text = str(address)
    again = Address.parse(text)
    assert again == address
    assert str(again) == text
    assert re.fullmatch(r"[A-Za-z0-9._/?&=-]{1,2048}", text)


@given(addresses, addresses)
def test_two_addresses_never_share_a_text(a: Address, b: Address) -> None:
    assert (str(a) == str(b)) == (a == b)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("digits", "1.0.0", 7, 0), "digits/1.0.0/7/0"),
        (Address("digits", "1.0.0", 7, 0, 3), "digits/1.0.0/7/0?label=3"),
        (Address("digits", "1.0.0", 7, 0, 3, 0.7), "digits/1.0.0/7/0?label=3&psi=0.7"),
        (
            Address("my-faces_2", "10.0.12", MAX_INTEGER, MAX_INTEGER, None, 0.1),
            "my-faces_2/10.0.12/9007199254740991/9007199254740991?psi=0.1",
        ),
        (Address("d", "0.0.0", 0, 0, 0, 1), "d/0.0.0/0/0?label=0"),
        (Address("d", "0.0.0", 0, 0, None, 1e-05), "d/0.0.0/0/0?psi=1e-05"),
        (Address("d", "0.0.0", 1, 2, to=(3, 4), at=0.5), "d/0.0.0/1/2?to=3.4&at=0.5"),
        (
            Address("d", "0.0.0", 1, 2, 3, 0.7, None, (3, 4), 5, 0.0001, ((0, -1.5), (12, 16), (101, 0.0))),
            "d/0.0.0/1/2?label=3&psi=0.7&to=3.4&tolabel=5&at=0.0001&z0=-1.5&z12=16&z101=0",
        ),
        (Address("d", "0.0.0", 1, 2, to=(1, 2), tolabel=5, at=0.25), "d/0.0.0/1/2?to=1.2&tolabel=5&at=0.25"),
        (
            Address(
                *("d", "0.0.0", 1, 2),
                paste=(Paste(2, Rectangle(8, 4, 12, 12), (7, 0)), Paste(2, Rectangle(9, 0, 10, 4), (7, 5), 1)),
                units=(UnitEdit(0, 12, -1.5), UnitEdit(1, 3, 100, Rectangle(0, 1, 2, 3))),
            ),
            "d/0.0.0/1/2?paste=2_7.0_8_4_12_12&paste=2_7.5_1_9_0_10_4&u0.12=-1.5&u1.3=100_0_1_2_3",
        ),
        (Address("d", "0.0.0", label=1, latent=pack_latent([0.5, -1.0])), "d/0.0.0/z/AAAAPwAAgL8?label=1"),
        (
            Address(
                "d", "0.0.0", 1, 2, z=((3, 1),), directions=(("age", -2.5), ("smile-2", 16)), units=(UnitEdit(0, 1, 2),)
            ),
            "d/0.0.0/1/2?z3=1&dir.age=-2.5&dir.smile-2=16&u0.1=2",
        ),
        (
            Address("d", "0.0.0", latent=pack_latent([0.5, -1.0]), directions=(("age", 1.0),)),
            "d/0.0.0/z/AAAAPwAAgL8?dir.age=1",
        ),
    ],
)
def test_the_canonical_text_never_changes(address: Address, text: str) -> None:
    assert str(address) == text
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("d/1.0.0/7/0?psi=1", "d/1.0.0/7/0"),
        ("d/1.0.0/7/0?psi=1.0&label=3", "d/1.0.0/7/0?label=3"),
        ("d/1.0.0/7/0?psi=0.70&label=3", "d/1.0.0/7/0?label=3&psi=0.7"),
        (
            "d/1.0.0/7/0?u1.0=2&paste=2_7.0_1_1_2_2&u0.10=1&u0.9=1&paste=0_7.0_0_0_1_1",
            "d/1.0.0/7/0?paste=0_7.0_0_0_1_1&paste=2_7.0_1_1_2_2&u0.9=1&u0.10=1&u1.0=2",
        ),
        ("d/1.0.0/7/0?dir.b=1&u0.0=1&dir.a=2&z9=1", "d/1.0.0/7/0?z9=1&dir.a=2&dir.b=1&u0.0=1"),
        ("d/1.0.0/7/0?z9=1&at=0.5&z2=1&to=8.0", "d/1.0.0/7/0?to=8.0&at=0.5&z2=1&z9=1"),
    ],
)
def test_other_spellings_of_psi_and_another_order_become_canonical(text: str, canonical: str) -> None:
    assert str(Address.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "address"),
        ("d", "address"),
        ("d/1.0.0/7", "address"),
        ("d/1.0.0/7/0/", "address"),
        ("d/1.0.0/7/0/1", "address"),
        ("/d/1.0.0/7/0", "address"),
        ("//7/0", "address"),
        ("d/1.0.0/7/0#label=1", "address"),
        ("d/1.0.0/7/0\n", "address"),
        ("d/1.0.0/7/0?psi=0.5\n", "address"),
        (" d/1.0.0/7/0", "model"),
        ("D/1.0.0/7/0", "model"),
        ("d./1.0.0/7/0", "model"),
        ("-d/1.0.0/7/0", "model"),
        ("d_/1.0.0/7/0", "model"),
        ("é/1.0.0/7/0", "model"),
        ("d\n/1.0.0/7/0", "model"),
        ("../1.0.0/7/0", "model"),
        ("d" * 64 + "/1.0.0/7/0", "model"),
        ("d/1.0/7/0", "version"),
        ("d/1.0.0.0/7/0", "version"),
        ("d/01.0.0/7/0", "version"),
        ("d/1.0.00/7/0", "version"),
        ("d/v1.0.0/7/0", "version"),
        ("d/latest/7/0", "version"),
        ("d/1.0.0\n/7/0", "version"),
        ("d/1000000.0.0/7/0", "version"),
        ("d/1.0.0/9007199254740992/0", "seed"),
        ("d/1.0.0/7/9007199254740992", "index"),
        ("d/1.0.0/7/" + "9" * 400, "index"),
        ("d/1.0.0/7/0?label=9007199254740992", "label"),
        ("d/1.0.0/7/0?label=99999999999999999999", "label"),
        ("d/1.0.0/7/0?label=", "label"),
        ("d/1.0.0/7/0?label", "label"),
        ("d/1.0.0/7/0?label=-1", "label"),
        ("d/1.0.0/7/0?label=+1", "label"),
        ("d/1.0.0/7/0?label=01", "label"),
        ("d/1.0.0/7/0?label= 1", "label"),
        ("d/1.0.0/7/0?label=1.0", "label"),
        ("d/1.0.0/7/0?label=cat", "label"),
        ("d/1.0.0/7/0?label=٣", "label"),
        ("d/1.0.0/7/0?psi=", "psi"),
        ("d/1.0.0/7/0?psi", "psi"),
        ("d/1.0.0/7/0?psi=0", "psi"),
        ("d/1.0.0/7/0?psi=-0.5", "psi"),
        ("d/1.0.0/7/0?psi=1.0000001", "psi"),
        ("d/1.0.0/7/0?psi=nan", "psi"),
        ("d/1.0.0/7/0?psi=inf", "psi"),
        ("d/1.0.0/7/0?psi=1e-400", "psi"),
        ("d/1.0.0/7/0?psi=half", "psi"),
        ("d/1.0.0/7/0?Label=1", "address"),
        ("d/1.0.0/7/0?label=1&size=2", "address"),
        ("d/1.0.0/7/0?=1", "address"),
    ],
)
def test_a_text_that_is_no_address_is_refused_by_the_part_at_fault(text: str, field: str) -> None:
    with pytest.raises(InputError) as refused:
        Address.parse(text)
    assert refused.value.field == field
    assert str(refused.value) == f"{field}: {refused.value.reason}"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("d/1.0.0/07/0", "seed"),
        ("d/1.0.0/+7/0", "seed"),
        ("d/1.0.0/-7/0", "seed"),
        ("d/1.0.0/ 7/0", "seed"),
        ("d/1.0.0/7.0/0", "seed"),
        ("d/1.0.0/7_0/0", "seed"),
        ("d/1.0.0/1٢/0", "seed"),
        ("d/1.0.0/" + "9" * 2000 + "/0", "seed"),
        ("d/1.0.0/" + "9" * 5000 + "/0", "address"),
        ("d/1.0.0/7/00", "index"),
        ("d/1.0.0/7/1٢", "index"),
        ("d/1.0.0/7/" + "9" * 2000, "index"),
        ("d/1.0.1٢/7/0", "version"),
        ("d/1.0.0/7/0?label=1٢", "label"),
        ("d/1.0.0/7/0?label=1&label=1", "label"),
        ("d/1.0.0/7/0?label=1&label=2", "label"),
        ("d/1.0.0/7/0?psi=0.5&label=1&psi=0.7", "psi"),
        ("d/1.0.0/7/0?psi=+0.5", "psi"),
        ("d/1.0.0/7/0?psi= 0.5", "psi"),
        ("d/1.0.0/7/0?psi=0.5 ", "psi"),
        ("d/1.0.0/7/0?psi=0.1_5", "psi"),
        ("d/1.0.0/7/0?psi=٠.٥", "psi"),
        ("d/1.0.0/7/0?", "address"),
        ("d/1.0.0/7/0?label=1&", "address"),
        ("d/1.0.0/7/0?&label=1", "address"),
        ("d/1.0.0/7/0?%6Cabel=1", "address"),
        ("d/1.0.0/7/0?label=%31", "label"),
        ("d/1.0.0/7/0?to=8.0", "at"),
        ("d/1.0.0/7/0?at=0.5", "at"),
        ("d/1.0.0/7/0?tolabel=1", "tolabel"),
        ("d/1.0.0/7/0?to=8&at=0.5", "to"),
        ("d/1.0.0/7/0?to=8.0.0&at=0.5", "to"),
        ("d/1.0.0/7/0?to=08.0&at=0.5", "to"),
        ("d/1.0.0/7/0?to=-8.0&at=0.5", "to"),
        ("d/1.0.0/7/0?to=8,0&at=0.5", "to"),
        ("d/1.0.0/7/0?to=9007199254740992.0&at=0.5", "to"),
        ("d/1.0.0/7/0?to=7.0&at=0.5", "to"),
        ("d/1.0.0/7/0?label=3&to=7.0&at=0.5", "to"),
        ("d/1.0.0/7/0?label=3&to=7.0&tolabel=3&at=0.5", "tolabel"),
        ("d/1.0.0/7/0?label=3&to=8.0&tolabel=3&at=0.5", "tolabel"),
        ("d/1.0.0/7/0?to=8.0&tolabel=01&at=0.5", "tolabel"),
        *((f"d/1.0.0/7/0?to=8.0&at={at}", "at") for at in BAD_SHARES),
        ("d/1.0.0/7/0?to=8.0&at=0.5&at=0.6", "at"),
        ("d/1.0.0/7/0?to=8.0&to=9.0&at=0.5", "to"),
        *((f"d/1.0.0/7/0?z3={value}", "z3") for value in BAD_VALUES),
        ("d/1.0.0/7/0?z3=1&z3=2", "z3"),
        ("d/1.0.0/7/0?z03=1", "address"),
        ("d/1.0.0/7/0?z=1", "address"),
        ("d/1.0.0/7/0?z-1=1", "address"),
        ("d/1.0.0/7/0?z1000000=1", "address"),
        *((f"d/1.0.0/7/0?dir.age={value}", "dir.age") for value in [*BAD_VALUES, "0"]),
        ("d/1.0.0/7/0?dir.age=1&dir.age=2", "dir.age"),
        ("d/1.0.0/7/0?" + "&".join(f"dir.a{k}=1" for k in range(17)), "directions"),
        *(
            (f"d/1.0.0/7/0?{name}=1", "address")
            for name in ("dir", "dir.", "dir.Age", "dir.2", "dir.-a", "dir.a-", "dir.a.b", "dir.é", "dir." + "a" * 33)
        ),
        *((f"d/1.0.0/7/0?paste={value}", "paste") for value in BAD_PASTES),
        ("d/1.0.0/7/0?" + "&".join(f"paste={k}_8.0_0_0_1_1" for k in range(5)), "paste"),
        ("d/1.0.0/7/0?paste=1_8.0_0_0_2_2&paste=1_9.0_0_0_2_2", "paste"),
        ("d/1.0.0/7/0?paste=1_8.0_1_1_2_2&paste=1_8.0_1_1_3_2", "paste"),
        ("d/1.0.0/7/0?u0.1=1&u0.1=2", "u0.1"),
        ("d/1.0.0/7/0?" + "&".join(f"u0.{k}=1" for k in range(65)), "units"),
        *((f"d/1.0.0/7/0?u0.1={value}", "u0.1") for value in BAD_VALUES if not value.startswith(("16", "-17"))),
        *(
            (f"d/1.0.0/7/0?u0.1={value}", "u0.1")
            for value in ("100.0001", "-101", "1_0_0_1", "1_0_0_0_1", "1_0_0_01_1")
        ),
        *(
            (f"d/1.0.0/7/0?{name}=1", "address")
            for name in ("u0", "u0.", "u.1", "u00.1", "u0.01", "u-1.0", "u1000000.0")
        ),
        ("d/1.0.0/z", "address"),
        ("d/1.0.0/z/", "address"),
        ("d/1.0.0/z/AAAAPw==", "latent"),
        ("d/1.0.0/z/AAAAP", "latent"),
        ("d/1.0.0/z/AAAAPx", "latent"),
        ("d/1.0.0/z/AAAA", "latent"),
        ("d/1.0.0/z/AAAA+w", "latent"),
        ("d/1.0.0/z/" + encode_latent(struct.pack("<f", -0.0)), "latent"),
        *(
            ("d/1.0.0/z/" + encode_latent(struct.pack("<2f", 0, value)), "latent[1]")
            for value in (math.nan, math.inf, 16.001, -1e30)
        ),
        (f"d/1.0.0/z/{LATENT}?z0=1", "z0"),
        ("d/1.0.0/7/0?" + "&".join(f"z{k}=1" for k in range(400)), "address"),
        ("d/1.0.0/z/" + "A" * 2048, "address"),
    ],
)
def test_a_text_that_looks_like_an_address_is_refused_by_the_part_at_fault(text: str, field: str) -> None:
    with pytest.raises(InputError) as refused:
        Address.parse(text)
    assert refused.value.field == field


@given(st.text(max_size=40) | st.text("d/10.?&=labepsiotzu_-A ", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except InputError:
        return
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": "a/b"}, "model"),
        ({"version": "1"}, "version"),
        ({"seed": -1}, "seed"),
        ({"seed": MAX_INTEGER + 1}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"index": -1}, "index"),
        ({"index": MAX_INTEGER + 1}, "index"),
        ({"label": -1}, "label"),
        ({"label": False}, "label"),
        ({"psi": 0}, "psi"),
        ({"psi": 1.5}, "psi"),
        ({"psi": math.nan}, "psi"),
        ({"psi": True}, "psi"),
        ({"psi": "0.5"}, "psi"),
        ({"to": (1, 2)}, "at"),
        ({"to": (1, -2), "at": 0.5}, "to"),
        ({"to": (1, 2, 3), "at": 0.5}, "to"),
        ({"to": "1.2", "at": 0.5}, "to"),
        ({"to": (7, 0), "at": 0.5}, "to"),
        ({"to": (1, 2), "at": 0.00001}, "at"),
        ({"to": (1, 2), "at": 1 / 3}, "at"),
        ({"to": (1, 2), "at": True}, "at"),
        ({"to": (1, 2), "at": math.nan}, "at"),
        ({"to": (1, 2), "at": 0.5, "tolabel": 3}, "tolabel"),
        ({"to": (1, 2), "at": 0.5, "tolabel": -1}, "tolabel"),
        ({"tolabel": 1}, "tolabel"),
        ({"at": 0.5}, "at"),
        ({"z": [(1, 1.0)]}, "z"),
        ({"z": (1, 1.0)}, "z"),
        ({"z": ((2, 1.0), (1, 1.0))}, "z"),
        ({"z": ((1, 1.0), (1, 2.0))}, "z"),
        ({"z": ((-1, 1.0),)}, "z"),
        ({"z": ((1, 16.5),)}, "z1"),
        ({"z": ((1, 10**400),)}, "z1"),
        ({"z": ((1, "1"),)}, "z1"),
        ({"z": tuple((k, 0.1234) for k in range(300))}, "address"),
        ({"directions": [("a", 1.0)]}, "directions"),
        ({"directions": ("a", 1.0)}, "directions"),
        ({"directions": (("b", 1.0), ("a", 1.0))}, "directions"),
        ({"directions": (("a", 1.0), ("a", 2.0))}, "directions"),
        ({"directions": (("A", 1.0),)}, "directions"),
        ({"directions": ((1, 1.0),)}, "directions"),
        ({"directions": (("a", -0.0),)}, "dir.a"),
        ({"directions": (("a", 16.5),)}, "dir.a"),
        ({"directions": (("a", math.nan),)}, "dir.a"),
        ({"paste": [Paste(0, Rectangle(0, 0, 1, 1), (8, 0))]}, "paste"),
        ({"paste": ((0, (0, 0, 1, 1), (8, 0)),)}, "paste"),
        ({"paste": (Paste(1, Rectangle(0, 0, 1, 1), (8, 0)), Paste(0, Rectangle(0, 0, 1, 1), (8, 0)))}, "paste"),
        ({"paste": (Paste(0, Rectangle(0, 0, 1, 1), (8, -1)),)}, "paste"),
        ({"units": (UnitEdit(0, 1, 1.0), UnitEdit(0, 0, 1.0))}, "units"),
        ({"units": (UnitEdit(0, 1, math.nan),)}, "u0.1"),
        ({"units": (UnitEdit(-1, 1, 1.0),)}, "units"),
        ({"latent": b""}, "latent"),
        ({"latent": b"abc"}, "latent"),
        ({"latent": "AAAAPw"}, "latent"),
        ({"latent": struct.pack("<f", 1)}, "seed"),
        ({"latent": struct.pack("<f", 1), "seed": 0, "index": 1}, "index"),
    ],
)
def test_an_address_cannot_be_made_of_a_bad_part(change: dict[str, Any], field: str) -> None:
    good = Address("d", "1.0.0", 7, 0, 3, 0.5)
    with pytest.raises(InputError) as refused:
        dataclasses.replace(good, **change)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("check", "bad"), [(check_name, "A"), (check_version, "1"), (check_integer, -1), (check_psi, 2)]
)
def test_the_checks_name_the_field_as_the_caller_knows_it(check: Callable[[Any, str], object], bad: object) -> None:
    with pytest.raises(InputError, match=r"^--mine: "):
        check(bad, "--mine")


def test_the_checks_return_what_they_accept() -> None:
    assert check_name("a" * 63) == "a" * 63
    assert check_version("0.10.999999") == "0.10.999999"
    assert check_integer(MAX_INTEGER, "n") == MAX_INTEGER
    assert check_psi(1) == 1.0 and isinstance(check_psi(1), float)


def test_an_address_is_a_frozen_value() -> None:
    address = Address("d", "1.0.0", 7, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        address.seed = 8  # type: ignore[misc]
    assert len({address, Address.parse(str(address))}) == 1


def test_zero_has_one_text_whatever_its_sign() -> None:
    assert str(Address("d", "1.0.0", 7, 0, z=((1, -0.0),))) == "d/1.0.0/7/0?z1=0"
    assert pack_latent([-0.0]) == pack_latent([0.0])


def test_a_latent_of_many_dimensions_has_an_address() -> None:
    address = Address("d" * 63, "999999.999999.999999", label=MAX_INTEGER, latent=pack_latent([0.1] * 360))
    assert len(str(address)) <= MAX_LENGTH
    assert Address.parse(str(address)) == address
