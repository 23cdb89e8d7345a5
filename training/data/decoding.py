"""How the pixels of a data set are read: settings, as a configuration has them."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

MIN_SIDE, MAX_SIDE = 16, 256
# Left, top, right, bottom, in pixels.
Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]
FitMode = Literal["crop", "pad", "stretch"]
SIZE_HELP = "a side such as 64, or WIDTHxHEIGHT such as 96x64"


class Size(NamedTuple):
    """Width and height in pixels; as text, `64` for a square and `96x64` for 96 wide and 64 high."""

    width: int
    height: int

    def __str__(self) -> str:
        return str(self.width) if self.width == self.height else f"{self.width}x{self.height}"


class Decoding(NamedTuple):
    """How the pixels of a data set are read.

    Attributes:
        size: what every image is brought to; None: they must have one size.
        fit: crop: the largest centred part of that aspect; pad: the whole, on the background; stretch: change it.
        background: of transparent pixels, and beside what is padded; None: transparent images are refused.
        skip_damaged: leave out images that cannot be decoded, instead of an error.
    """

    size: Size | None = None
    fit: FitMode = "crop"
    background: Colour | None = None
    skip_damaged: bool = False

    @property
    def is_coloured(self) -> bool:
        """Whether the background is a colour, not grey, so that every image becomes RGB."""
        return self.background is not None and len(set(self.background)) > 1

    def check(self) -> None:
        """Check that the settings fit together.

        Raises: ValueError.
        """
        if self.size is None and self.fit != "crop":
            raise ValueError(f"data.fit={self.fit} needs data.size, e.g. data.size=64")
        if self.fit == "pad" and self.background is None:
            raise ValueError("data.fit=pad needs data.background, the colour of the bars, e.g. data.background=black")


AS_THEY_ARE = Decoding()


def parse_size(value: Any) -> Size:
    """Read a size from 64, "64" or "96x64" (width, then height).

    Raises: ValueError.
    """
    match = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*[xX]\s*([0-9]{1,9}))?\s*", str(value))
    if isinstance(value, Size):
        return value
    if match is None or isinstance(value, bool):
        raise ValueError(f"must be {SIZE_HELP}, got {value!r}")
    size = Size(int(match[1]), int(match[2] or match[1]))
    if not MIN_SIDE <= min(size) <= max(size) <= MAX_SIDE:
        raise ValueError(f"sides must be from {MIN_SIDE} to {MAX_SIDE} pixels, got {value!r}")
    return size


def parse_colour(text: str) -> Colour | None:
    """Read an opaque colour, as CSS writes it: `white`, `#ffffff`, `rgb(255, 255, 255)`; "" is None.

    Raises: ValueError.
    """
    if not text:
        return None
    # Here, because most configurations need no library of images.
    from PIL import ImageColor

    try:
        red, green, blue, *alpha = ImageColor.getrgb(text)
    except ValueError:
        alpha = [0]
    if alpha:
        raise ValueError(f"must be a colour such as white or '#f0f0f0', got {text!r}")
    return red, green, blue
