"""Numbers in an address: each has one text."""

from __future__ import annotations

import re

from models.errors import InputError
from models.latents import MAX_INTEGER

_DECIMAL = re.compile(r"(?!-0$)-?(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{0,3}[1-9])?")


def check_integer(value: int, field: str) -> int:
    """Return the integer if it is in 0 .. 2^53 - 1.

    Raises: InputError.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise InputError(f"must be an integer from 0 to 2^53 - 1 ({MAX_INTEGER}), got {value!r}", field)
    return value


def check_decimal(value: object, field: str, limit: int) -> None:
    """Check that a value is a number from -limit to limit with at most 4 decimals.

    Raises: InputError.
    """
    if not is_decimal(value, -limit, limit):
        raise InputError(f"must be from -{limit} to {limit}, with at most 4 decimals, got {value!r}", field)


def is_decimal(value: object, low: float, high: float) -> bool:
    """Tell whether a value is a number from low to high with at most 4 decimals."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return low <= value <= high and float(f"{value:.4f}") == value


def parse_integer(text: str, field: str) -> int:
    """Parse a whole number of at most 16 digits.

    Raises: InputError.
    """
    # 16 digits are enough for 2^53; int() of thousands of digits raises an error of its own.
    if not re.fullmatch(r"0|[1-9][0-9]{0,15}", text):
        raise InputError(f"must be a whole number from 0 to 2^53 - 1, got {text[:40]!r}", field)
    return int(text)


def parse_decimal(text: str, field: str) -> float:
    """Parse a number with at most 4 decimals and at most 6 digits before them.

    Raises: InputError.
    """
    if not _DECIMAL.fullmatch(text):
        message = f"must be a number such as 0.25 with at most 4 decimals and no zeros at its end, got {text[:40]!r}"
        raise InputError(message, field)
    return float(text)


def format_decimal(value: float) -> str:
    """Return the text that `parse_decimal` reads."""
    # Adding 0.0 turns -0.0 into 0.0.
    return f"{value + 0.0:.4f}".rstrip("0").rstrip(".")
