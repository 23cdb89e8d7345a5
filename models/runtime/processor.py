"""Describe this machine's processor as far as it changes the last bits of a forward."""

from __future__ import annotations

import functools
import platform
from importlib import import_module

# Sets of instructions that numeric libraries choose their code by, from the oldest on.
# NumPy 2.4 calls AVX512_SKX X86_V4.
DISPATCHED = (
    "SSE41",
    "AVX",
    "FMA3",
    "AVX2",
    "AVX512F",
    "AVX512_SKX",
    "X86_V4",
    "AVX512_ICL",
    "AVX512_SPR",
    "ASIMD",
    "SVE",
)


@functools.cache
def describe_processor() -> str:
    """Return the architecture and its sets of instructions, such as `x86_64 SSE41 AVX FMA3 AVX2`."""
    return " ".join([platform.machine(), *(name for name in DISPATCHED if _features().get(name))])


def _features() -> dict[str, bool]:
    # NumPy asks the processor itself, on every platform; it has no public name for the answer.
    multiarray = import_module("numpy._core._multiarray_umath")
    features: dict[str, bool] = getattr(multiarray, "__cpu_features__", {})
    return features
