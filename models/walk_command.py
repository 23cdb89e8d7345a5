"""The command that makes a video of a walk through the latent space: walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import artifact, store
from models.address import Address
from models.cli import PATH, ModelCommand, device_option, read_ending, write_output
from models.errors import InputError
from models.images import to_picture
from models.manifest import ImageShape
from models.runtime.loading import resolve_device
from models.sampler import Sampler
from models.video import MAX_FPS, VIDEO_TYPES, FrameSize, check_video, encode_video
from models.walk import plan_walk

T = TypeVar("T")
RESAMPLINGS = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}
# Without --size, images are enlarged by a whole factor to at least this.
SIDE_PIXELS = 256


@click.command(
    cls=ModelCommand,
    epilog="\b\nExamples:\n"
    "  ganmint walk 'digits/4.2.0/7/0?label=3' 'digits/4.2.0/8/0?label=5' --out walk.webp\n"
    "  ganmint walk faces/1.4.0/7/0 faces/1.4.0/8/0 faces/1.4.0/9/0 --loop --resample lanczos --out faces.gif\n"
    "  ganmint walk 'faces/1.4.0/7/0?dir.turn=-1' 'faces/1.4.0/7/0?dir.turn=1' --loop --out turn.webp",
)
@click.argument("stops", metavar="ADDRESS ADDRESS...", nargs=-1, required=True)
@click.option("--out", type=PATH, required=True, help="The video to write: .mp4 (extra video), .webp or .gif.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=6, show_default=True, help="How long it is."
)
@click.option("--fps", type=click.FloatRange(1, MAX_FPS), default=24, show_default=True, help="Frames per second.")
@click.option("--loop", is_flag=True, help="Walk back to the first address, so that the video repeats without a jump.")
@click.option(
    "--size",
    type=click.IntRange(1, 4096),
    metavar="PIXELS",
    help=f"The longer side of the frames. Default: a whole multiple of the images' own, {SIDE_PIXELS} or just above.",
)
@click.option(
    "--resample",
    type=click.Choice(list(RESAMPLINGS)),
    default="nearest",
    show_default=True,
    help="How images are scaled.",
)
@device_option
def walk(
    stops: tuple[str, ...],
    out: Path,
    seconds: float,
    fps: float,
    loop: bool,
    size: int | None,
    resample: str,
    device: str,
) -> None:
    """Make a video of a walk through the latent space, from address to address.

    The frames between two addresses mix their latents and their classes; each frame has an address itself. psi,
    zK and dir.NAME go evenly from one to the other.
    """
    video_type = read_ending(out, VIDEO_TYPES)
    requested = _for_each_stop(store.parse_address, stops)
    files = store.read_artifact(store.find_model(f"{requested[0].model}/{requested[0].version}"))
    addresses = plan_walk(_for_each_stop(files.manifest.check, requested), round(seconds * fps), loop)
    frame_size = _choose_frame_size(files.manifest.image, size)
    check_video(video_type, frame_size, len(addresses), fps)
    sampler = artifact.load_files(files, resolve_device(device))
    with click.progressbar(length=len(addresses), label="Minting frames") as bar:
        frames = _scale(_mint(sampler, addresses), frame_size, RESAMPLINGS[resample])
        content = encode_video(_count(frames, bar.update), video_type, frame_size, fps)
    write_output(out, content)
    click.echo(f"Wrote {out}: {len(addresses)} frames, {len(content) / 1e3:,.0f} kB, beginning with {addresses[0]}")


def _for_each_stop(find: Callable[[T], Address], stops: Sequence[T]) -> list[Address]:
    """Return the address of each stop.

    Raises: InputError naming the stop and its part at fault.
    """
    addresses: list[Address] = []
    for k, stop in enumerate(stops):
        try:
            addresses.append(find(stop))
        except InputError as error:
            raise InputError(error.reason, f"stops[{k}].{error.field}") from None
    return addresses


def _mint(sampler: Sampler, addresses: Sequence[Address]) -> Iterator[NDArray[np.uint8]]:
    """Mint batch after batch; yield uint8 (H, W, C) each."""
    for start in range(0, len(addresses), sampler.batch_size):
        yield from sampler.mint(addresses[start : start + sampler.batch_size])


def _choose_frame_size(image: ImageShape, longer_side: int | None) -> FrameSize:
    """Return the frames' size, with the images' aspect."""
    own = max(image.width, image.height)
    scale = Fraction(longer_side, own) if longer_side else -(-SIDE_PIXELS // own)
    return max(round(image.width * scale), 1), max(round(image.height * scale), 1)


def _scale(
    pixels: Iterator[NDArray[np.uint8]], size: FrameSize, resampling: Image.Resampling
) -> Iterator[NDArray[np.uint8]]:
    """Scale images to uint8 (height, width, 3)."""
    for image in pixels:
        picture = to_picture(image).convert("RGB")
        yield np.asarray(picture.resize(size, resampling))


def _count(frames: Iterator[NDArray[np.uint8]], update: Callable[[int], None]) -> Iterator[NDArray[np.uint8]]:
    for frame in frames:
        update(1)
        yield frame
