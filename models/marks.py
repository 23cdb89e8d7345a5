"""Read the marks of a picture file: the addresses that mint it, and that it is synthetic.

Nothing is decoded, so a forged size costs nothing. `models.images` writes the marks.
"""

from __future__ import annotations

from pydantic import Field

from models.base import Frozen
from models.errors import FileError
from models.images import ADDRESS_KEY, ASCII_CODE, SOURCE_TYPE, MediaType
from models.picture_file import Format, read_picture_file, read_user_comment

_MEDIA_TYPES: dict[Format, MediaType] = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


class Marks(Frozen):
    """What a picture file says of itself. Anyone can write it into any file: see `models.verification`."""

    media_type: MediaType
    width: int = Field(description="in pixels, as the file claims it")
    height: int
    is_synthetic: bool = Field(description="whether its XMP has the IPTC mark of synthetic media")
    addresses: tuple[str, ...] = Field(description="as they stand in the file, unchecked; empty if it has none")


def read_marks(data: bytes, name: str = "image") -> Marks:
    """Read the marks of a file.

    Args: name: of the file, for the error.
    Raises: FileError when the bytes are not a whole PNG, JPEG or WebP file.
    """
    try:
        file = read_picture_file(data, (ADDRESS_KEY,))
    except ValueError as error:
        raise FileError(name, f"is not a readable picture: {error}") from None
    text = file.texts.get(ADDRESS_KEY, "")
    comment = read_user_comment(file.exif)
    if not text and comment.startswith(ASCII_CODE):
        text = comment.removeprefix(ASCII_CODE).decode("latin-1")
    return Marks(
        media_type=_MEDIA_TYPES[file.format],
        width=file.width,
        height=file.height,
        is_synthetic=SOURCE_TYPE.encode() in file.xmp,
        addresses=tuple(text.split("\n")) if text else (),
    )


def read_address(data: bytes, name: str = "image") -> str:
    """Read the address text that `images.encode` wrote into a file; for a grid, one address a line.

    Raises: FileError when the bytes are not a picture or carry no address.
    """
    marks = read_marks(data, name)
    if not marks.addresses:
        raise FileError(name, "carries no address; it was not made by ganmint, or its metadata was removed")
    return "\n".join(marks.addresses)
