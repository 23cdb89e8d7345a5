"""Encode frames as a video: MP4 (extra `video`), animated WebP or GIF.

Each file says that it is synthetic (IPTC DigitalSourceType): WebP in XMP, MP4 and GIF in their comment.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import images
from models.errors import GanmintError, InputError

VideoType = Literal["mp4", "webp", "gif"]
VIDEO_TYPES: tuple[VideoType, ...] = get_args(VideoType)
MAX_FPS = 60
# GIF counts in hundredths of a second, and browsers slow down what is faster than two of them.
MAX_GIF_FPS = 50
# WebP and GIF are encoded from all frames at once.
MAX_ANIMATION_BYTES = 1 << 30
# Width and height in pixels.
FrameSize = tuple[int, int]
# x264's constant rate factor, 0 to 51: 18 looks like the original.
_RATE_FACTOR = "18"


def check_video(video_type: VideoType, size: FrameSize, num_frames: int, fps: float) -> None:
    """Check that such a video can be made here, before its frames are.

    Args:
        video_type: of the file.
        size: of the frames.
        num_frames: at least 1.
        fps: frames per second.
    Raises: InputError for `size` or `fps`; GanmintError where a package is missing.
    """
    width, height = size
    if video_type == "mp4":
        if not find_spec("av"):
            message = (
                "MP4 needs PyAV, of the extra video; in the checkout: "
                ".venv/bin/pip install -c constraints.txt '.[video]'; or choose .webp or .gif"
            )
            raise GanmintError(message)
        if width % 2 or height % 2:
            raise InputError(f"must make even sides for MP4, got {width}x{height}", "size")
        return
    if video_type == "gif" and fps > MAX_GIF_FPS:
        raise InputError(f"must be at most {MAX_GIF_FPS} for GIF, got {fps:g}", "fps")
    if num_frames * width * height * 3 > MAX_ANIMATION_BYTES:
        message = f"{num_frames} frames of {width}x{height} pixels take more than 1 GiB of memory"
        raise InputError(f"{message}; make it smaller, or an .mp4", "size")


def encode_video(frames: Iterable[NDArray[np.uint8]], video_type: VideoType, size: FrameSize, fps: float) -> bytes:
    """Encode frames as a video file; WebP and GIF repeat for ever.

    Args:
        frames: uint8 (height, width, 3), at least one.
        video_type, size, fps: as `check_video` takes them, and checked by it.
    """
    if video_type == "mp4":
        return _encode_mp4(frames, size, fps)
    pictures = list(frames)
    if video_type == "webp":
        return images.encode_animation(pictures, _list_durations_ms(len(pictures), fps, 1))
    return _encode_gif(pictures, fps)


def _list_durations_ms(num_frames: int, fps: float, unit_ms: int) -> list[int]:
    """Return how long each frame is shown, in whole units, so that no rounding adds up."""
    ends_ms = np.rint(np.arange(num_frames + 1) * (1000 / fps / unit_ms)).astype(int) * unit_ms
    durations_ms: list[int] = np.diff(ends_ms).tolist()
    return durations_ms


def _encode_gif(frames: list[NDArray[np.uint8]], fps: float) -> bytes:
    pictures = [Image.fromarray(frame) for frame in frames]
    durations_ms = _list_durations_ms(len(frames), fps, 10)
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=durations_ms,
        loop=0,
        comment=images.SOURCE_TYPE.encode(),
    )
    return buffer.getvalue()


def _encode_mp4(frames: Iterable[NDArray[np.uint8]], size: FrameSize, fps: float) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.metadata["comment"] = images.SOURCE_TYPE
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": _RATE_FACTOR}
        )
        # The format of colours that every player knows.
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = size
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
