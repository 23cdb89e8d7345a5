"""An address has one canonical text, and nothing that is not an address is read as one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.address import Address, check_integer, check_name, check_psi, check_version
from models.errors import InputError
from models.latents import MAX_INTEGER

integers = st.integers(0, MAX_INTEGER)
part = st.integers(0, 999_999)
addresses = st.builds(
    Address,
    model=st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", fullmatch=True),
    version=st.builds("{}.{}.{}".format, part, part, part),
    seed=integers,
    index=integers,
    label=st.none() | integers,
    psi=st.just(1.0) | st.floats(0, 1, exclude_min=True),
)


@given(addresses)
def test_an_address_comes_back_from_its_text(address: Address) -> None:
    text = str(address)
    again = Address.parse(text)
    assert again == address
    assert str(again) == text
    assert text.isascii() and text.isprintable() and " " not in text


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
        ("d/1.0.0/" + "9" * 5000 + "/0", "seed"),
        ("d/1.0.0/7/00", "index"),
        ("d/1.0.0/7/1٢", "index"),
        ("d/1.0.0/7/" + "9" * 5000, "index"),
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
    ],
)
def test_a_text_that_looks_like_an_address_is_refused_by_the_part_at_fault(text: str, field: str) -> None:
    with pytest.raises(InputError) as refused:
        Address.parse(text)
    assert refused.value.field == field


@given(st.text(max_size=40) | st.text("d/10.?&=labepsi ", max_size=40))
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
