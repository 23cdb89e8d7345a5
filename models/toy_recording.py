"""The recording of a toy training, tick by tick: what training writes and the page of service.lab shows.

Positions are bytes, 0 .. 255 over the range of the view, and stand in the file as base64; so do pictures, as PNG.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from models import images, png
from models.base import Frozen, describe_first_problem
from models.errors import FileError
from models.files import write_atomically

FILE_NAME = "lab.json"
# A tick is 2 to 3 kB; the longest run of a preset has 65.
MAX_BYTES = 64 << 20
# Of grey in pictures: fewer bytes than all 256, and smooth edges all the same.
LEVELS = 16
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class View(Frozen):
    """The part of the line or plane that is recorded.

    Attributes:
        low, high: the ends, the same for every dimension.
        dimensions: of a point.
    """

    low: float
    high: float
    dimensions: Literal[1, 2]

    def encode(self, points: NDArray[np.float32]) -> str:
        """Write points, float32 (n, dimensions), as base64; what lies outside of the view moves to its edge."""
        return encode_shares((points - self.low) / (self.high - self.low))


class Sheet(Frozen):
    """Grey pictures side by side.

    Attributes:
        side: of a picture, in pixels.
        columns: pictures in a row.
        near: the distance up to which a picture counts as one of the data's.
    """

    side: int = Field(ge=1, le=256)
    columns: int = Field(ge=1, le=64)
    near: float = Field(gt=0)

    def encode(self, pictures: NDArray[np.uint8]) -> str:
        """Write pictures, uint8 (n, side, side, 1), as one PNG of LEVELS greys in base64."""
        step = 255 / (LEVELS - 1)
        pixels = images.grid(np.rint(np.rint(pictures / step) * step).astype(np.uint8), self.columns)
        return base64.b64encode(png.encode_png(pixels)).decode()


class RecordedTick(Frozen):
    """What a toy training had learnt at one tick.

    Attributes:
        kimg: thousand real samples shown so far.
        points: of the averaged generator; on a sheet, its pictures.
        discriminator: its logit in the middle of each cell of a lattice over the view, row by row from the low end, or
            along the line; on a sheet, of each real and then of each generated picture. 0 is the least of this tick and
            255 the greatest.
        manifold: where the generator takes a square lattice of latents whose columns and rows are equally likely;
            empty unless the latents have as many dimensions as the plane. On a sheet, the three corners of the triangle
            that is nearest to each generated picture, x from the left and y from the top as shares of its side.
        distances: on a sheet, of each generated picture from that triangle; 255 is twice what counts as near.
        values: losses, accuracies and metrics by name; None is not finite.
    """

    kimg: float = Field(ge=0)
    points: Base64
    discriminator: Base64
    manifold: Base64
    distances: Base64 = ""
    values: dict[str, float | None]


class Recording(Frozen):
    """A toy training.

    Attributes:
        title: which data and which losses.
        view: where all positions lie, or how pictures are put together.
        real: points or pictures of the data.
        ticks: in the order of their kimg.
    """

    format: Literal["ganmint-lab/1"] = "ganmint-lab/1"
    title: str = Field(max_length=200)
    view: View | Sheet
    real: Base64
    ticks: tuple[RecordedTick, ...] = ()

    def add(self, tick: RecordedTick) -> Recording:
        """Return the recording with a tick more; a run that resumed takes some of its ticks again."""
        kept = [other for other in self.ticks if other.kimg < tick.kimg]
        return self.model_copy(update={"ticks": (*kept, tick)})


def encode_shares(shares: NDArray[np.floating[Any]]) -> str:
    """Write numbers as bytes in base64: 0 and less as 0, 1 and more as 255."""
    return base64.b64encode(np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8).tobytes()).decode()


def write(path: Path, recording: Recording) -> None:
    """Write a recording, whole or not at all."""
    write_atomically(path, recording.model_dump_json().encode())


def read(path: Path) -> Recording:
    """Read a recording.

    Raises: FileError: there is none, or it is damaged.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileError(path, f"is no recording of a toy training: it has more than {MAX_BYTES >> 20} MiB")
        content = path.read_bytes()
    except OSError:
        raise FileError(
            path, "is not there; only runs of toy data (presets toy1d, toy25, triangles) record how they learn"
        ) from None
    try:
        return Recording.model_validate_json(content)
    except ValidationError as error:
        raise FileError(path, f"is no recording of a toy training ({describe_first_problem(error)})") from None
