"""The process's memory: its allocator, for programs that compute with torch on the CPU, and running out of it."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h; 32 MiB is the largest threshold that it takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX = -1, -3, 32 * 1024 * 1024


def keep_freed() -> None:
    """Let glibc keep the memory of a batch's activations for the next batch.

    Otherwise the kernel clears the same pages for every batch, which takes a sixth of a forward's time with torch.
    onnxruntime keeps its memory itself and gains nothing. At most 128 MiB are kept beyond what is in use. Without
    glibc this does nothing.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX)
        mallopt(M_TRIM_THRESHOLD, 4 * MMAP_THRESHOLD_MAX)


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an exception of a runtime says that there was not enough memory; each has its own words for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "can't allocate memory", "bad_alloc", "bad alloc", "allocate mem")
    )
