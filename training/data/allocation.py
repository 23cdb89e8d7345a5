"""Allocate arrays that may be larger than memory, and fill them from streams."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

# A larger array is mapped from a temporary file.
MAPPED_ABOVE_BYTES = 2 * 1024**3
READ_BYTES = 1 << 20


def allocate(shape: tuple[int, ...], path: Path, is_mapped: bool = False) -> NDArray[np.uint8]:
    """Allocate an uninitialised uint8 array; map it from an unlinked temporary file if it is large.

    Args:
        shape: the array's shape.
        path: the file or folder whose content the array will hold, for the error.
        is_mapped: map a small one, too, such as a part of one that is.
    Raises: DataError when there is no room.
    """
    size = math.prod(shape)
    demand = f"needs {size / 1e9:.1f} GB"
    try:
        if size <= MAPPED_ABOVE_BYTES and not (is_mapped and size):
            return np.empty(shape, np.uint8)
        # TemporaryFile unlinks at once; the mapping keeps the bytes until the array is dropped.
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                # Reserve real blocks, or a full disk would kill the process with SIGBUS later.
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except MemoryError:
        raise DataError(path, f"{demand} of memory, more than is free; use fewer or smaller images") from None
    except OSError as error:
        folder = tempfile.gettempdir()
        raise DataError(path, f"{demand} in {folder} ({error.strerror}); set TMPDIR to a disk with room") from None


def fill(array: NDArray[np.uint8], stream: IO[bytes]) -> int:
    """Read a stream into a contiguous array, in chunks, so that a large file is in memory only once.

    Returns: how many bytes were read: less than the array has if the stream ends before.
    """
    buffer = array.reshape(-1).data
    size = 0
    while size < len(buffer) and (chunk := stream.read(min(READ_BYTES, len(buffer) - size))):
        buffer[size : size + len(chunk)] = chunk
        size += len(chunk)
    return size
