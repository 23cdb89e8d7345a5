"""Tell whether a picture is still what its marks say: read them, mint the addresses again, and compare.

Not here: what reads the marks (models.marks), where images are minted (models.sampler, service.batcher), the
mathematics of a difference (models.picture_difference).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models import images
from models.address import Address
from models.errors import InputError, ModelNotFoundError
from models.manifest import Manifest
from models.marks import Marks, read_marks
from models.picture_difference import Pixels, correlate, decode, paint_difference, split_grid
from models.picture_file import read_picture_file, remove_credentials

# Mints addresses of one model: uint8 (n, H, W, C). Raises ModelNotFoundError, InputError.
Mint = Callable[[list[Address]], Pixels]
Result = Literal["identical", "same_pixels", "close", "altered", "another_image", "no_marks", "unknown_model"]
# As many as the largest request to the service may have.
MAX_IMAGES = 65_536
# A picture of one of these is what its address mints.
GOOD: frozenset[Result] = frozenset({"identical", "same_pixels", "close"})
# Another processor's pixels may be off by 1 of 255. JPEG rounds once more: where up to a tenth of the values were off
# by 1, decoded JPEGs of the bundled models were off by up to 13.
CLOSE = 1
CLOSE_JPEG = 16
# Below this correlation (of a grid: the median of its images'), and with more changed pixels than this share, a picture
# is another image. Of the bundled models, images that were saved again as JPEG of quality 10 to 95 kept a correlation
# of 0.87 and more; of pairs of different images, 99 in 100 had less than 0.77. The share keeps a small, strong change
# an alteration.
MIN_CORRELATION = 0.8
MAX_OTHER_SHARE = 0.05


class Verification(Marks):
    """What a file is, beside the marks that it carries. Pixels are compared with those that its addresses mint."""

    result: Result = Field(
        description="identical: the very bytes; same_pixels: in another file; close: within 1 of 255 (JPEG: 16); "
        "altered: pixels were changed; another_image: the picture is unlike its addresses; no_marks: it carries no "
        "address, as a video; unknown_model: the addresses are of a model or version that is not here"
    )
    detail: str = Field(description="the result in words")
    changed_pixels: int = Field(default=0, description="how many pixels differ")
    max_difference: int = Field(default=0, description="the largest difference of a value, 0 to 255")
    # A schema of a fixed tuple would have prefixItems, which tools for OpenAPI stumble over.
    box: Annotated[tuple[int, ...], Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="left, top, right, bottom around the changed pixels; right and bottom lie outside"
    )
    changed_addresses: tuple[str, ...] = Field(
        default=(), description="of a picture of several images, those with a changed pixel"
    )

    @property
    def is_good(self) -> bool:
        """Whether the picture is what its addresses mint."""
        return self.result in GOOD


class Claim(NamedTuple):
    """A file and what it says that it is.

    Attributes:
        data: the file.
        marks: its marks.
        addresses: the addresses in them, all of one model and version; empty if it carries none.
    """

    data: bytes
    marks: Marks
    addresses: list[Address]


class Comparison(NamedTuple):
    """What a file is, and where pixels differ a picture of the differences, uint8 (H, W, 3)."""

    verification: Verification
    difference: Pixels | None = None


def verify(data: bytes, mint: Mint, max_images: int = MAX_IMAGES, name: str = "image") -> Comparison:
    """Tell whether a file is what its marks say.

    Args:
        data: a PNG, JPEG or WebP file of one image or of a grid.
        mint: called once with all addresses.
        max_images: with more addresses than this, the file is refused.
        name: of the file, for errors.
    Raises:
        FileError: the file is damaged or of another kind.
        InputError: an address in it is none; the field is such as addresses[3].
    """
    claim = read_claim(data, max_images, name)
    if not claim.addresses:
        return judge_without_marks(claim)
    try:
        pixels = mint(claim.addresses)
    except ModelNotFoundError as error:
        return judge_unknown_model(claim, error)
    return compare(claim, pixels, name)


def read_claim(data: bytes, max_images: int = MAX_IMAGES, name: str = "image") -> Claim:
    """Read a file's marks and parse its addresses; arguments and errors as for `verify`."""
    marks = read_marks(data, name)
    if len(marks.addresses) > max_images:
        raise InputError(f"has {len(marks.addresses)} addresses; at most {max_images} are minted again", "addresses")
    addresses = [_parse(text, k) for k, text in enumerate(marks.addresses)]
    if len({(address.model, address.version) for address in addresses}) > 1:
        raise InputError("are of several models or versions; a picture of Ganmint has one", "addresses")
    return Claim(data, marks, addresses)


def _parse(text: str, position: int) -> Address:
    try:
        return Address.parse(text)
    except InputError as error:
        part = "" if error.field == "address" else f".{error.field}"
        raise InputError(error.reason, f"addresses[{position}]{part}") from None


def resolve(addresses: list[Address], manifest: Manifest) -> list[Address]:
    """Return the addresses with their labels resolved, if they are the model's.

    Raises: InputError naming the part at fault, such as addresses[3].label.
    """
    resolved: list[Address] = []
    for address in addresses:
        try:
            resolved.append(manifest.check(address))
        except InputError as error:
            raise InputError(error.reason, f"addresses[{len(resolved)}].{error.field}") from None
    return resolved


def judge_without_marks(claim: Claim) -> Comparison:
    """Return the result on a file without an address."""
    if not claim.marks.is_synthetic:
        return _judge(claim, "no_marks", "carries no address: it was not made by Ganmint, or its marks were removed")
    detail = "says that it is synthetic, but carries no address to mint again"
    if read_picture_file(claim.data).is_animated:
        return _judge(claim, "no_marks", f"{detail}: it has several frames, as the videos of ganmint walk do")
    return _judge(
        claim,
        "no_marks",
        f"{detail}: it is of another program, or of a command such as ganmint project, or its address was removed",
    )


def name_result(result: Result) -> str:
    """Return a result in words."""
    # A file without an address may still have the mark of synthetic media.
    return result.replace("no_marks", "no_address").replace("_", " ")


def judge_unknown_model(claim: Claim, error: ModelNotFoundError) -> Comparison:
    """Return the result on a file whose model or version is not here."""
    return _judge(claim, "unknown_model", f"cannot be minted again here: {error}")


def compare(
    claim: Claim, minted: Pixels, name: str = "image", check_time: Callable[[], None] = lambda: None
) -> Comparison:
    """Compare a file with the pixels that its addresses mint.

    A file is decoded only if it has the very size of those pixels.

    Args:
        claim: the file.
        minted: uint8 (n, H, W, C).
        name: of the file, for errors.
        check_time: called between the steps; raises an error of its own to end the comparison.
    Raises: FileError when the file's pixels are damaged.
    """
    marks, subject = claim.marks, _subject(claim)
    columns = _find_columns(marks, minted)
    if columns is None:
        size = f"{minted.shape[2]}x{minted.shape[1]}" + " each" * (len(minted) > 1)
        return _judge(claim, "another_image", f"is {marks.width}x{marks.height}, but {subject} mint {size}")
    if read_picture_file(claim.data).is_animated:
        return _judge(claim, "another_image", "has several frames; a picture of Ganmint has one")
    picture = images.grid(minted, columns)
    encoded = images.encode(picture, marks.media_type, "\n".join(map(str, claim.addresses)))
    check_time()
    if claim.data == encoded:
        return _judge(claim, "identical", f"is byte for byte what {subject} mint")
    if remove_credentials(claim.data) == encoded:
        return _judge(claim, "same_pixels", f"is byte for byte what {subject} mint, with Content Credentials added")
    stored = decode(claim.data, name)
    check_time()
    # What JPEG loses, our own file has lost, too.
    expected = decode(encoded, name)
    check_time()
    difference = np.maximum(stored, expected) - np.minimum(stored, expected)
    if not difference.any():
        return _judge(claim, "same_pixels", f"has every pixel that {subject} mint, in a file that was written anew")
    check_time()
    return _judge_difference(claim, stored, expected, difference, minted.shape)


def _judge_difference(
    claim: Claim, stored: Pixels, expected: Pixels, difference: Pixels, shape: Sequence[int]
) -> Comparison:
    """Judge pixels that differ. All are uint8 (height, width, 4); shape is (n, H, W, C)."""
    by_pixel = difference.max(axis=2)
    changed = by_pixel > 0
    count, worst = int(changed.sum()), int(by_pixel.max())
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    changes: NDArray[np.bool_] = np.any(split_grid(changed, shape), axis=1)
    changed_addresses = [text for text, is_changed in zip(claim.marks.addresses, changes) if is_changed]
    tolerance = CLOSE_JPEG if claim.marks.media_type == "image/jpeg" else CLOSE
    subject, share = _subject(claim), count / changed.size
    where = (
        f"{count} of {changed.size} pixels differ from what {subject} mint, by up to {worst} of 255, in {_words(box)}"
    )
    name: Result
    if worst <= tolerance:
        name = "close"
        detail = f"every value is within {tolerance} of 255 of what {subject} mint, as on another processor"
    elif share > MAX_OTHER_SHARE and correlate(stored, expected, shape) < MIN_CORRELATION:
        name = "another_image"
        detail = f"is unlike what {subject} mint: the marks may stand in a foreign picture; {where}"
    else:
        name, detail = "altered", where
        if len(claim.addresses) > 1:
            detail += f", in {len(changed_addresses)} of {len(claim.addresses)} images"
    verification = _judge(claim, name, detail).verification.model_copy(
        update={
            "changed_pixels": count,
            "max_difference": worst,
            "box": box,
            "changed_addresses": tuple(changed_addresses) if len(claim.addresses) > 1 else (),
        }
    )
    return Comparison(verification, paint_difference(stored, by_pixel))


def _judge(claim: Claim, result: Result, detail: str) -> Comparison:
    return Comparison(Verification(**claim.marks.model_dump(), result=result, detail=detail))


def _subject(claim: Claim) -> str:
    count = len(claim.addresses)
    return "its address would" if count == 1 else f"its {count} addresses would"


def _words(box: tuple[int, ...]) -> str:
    left, top, right, bottom = box
    return f"columns {left} to {right - 1} and rows {top} to {bottom - 1}"


def _find_columns(marks: Marks, minted: Pixels) -> int | None:
    """Return how many images stand side by side in a grid of this size; None if none has it."""
    count, height, width, _ = minted.shape
    columns = marks.width // width
    fits = 1 <= columns <= count and marks.width == columns * width and marks.height == -(-count // columns) * height
    return columns if fits else None
