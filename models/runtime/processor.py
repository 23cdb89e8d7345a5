"""Describe this machine's processor as far as it changes the last bits of a forward."""

from __future__ import annotations

import functools
import math
import os
import platform
from importlib import import_module
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# Kernel documentation, admin-guide/cgroup-v2: quota and period in microseconds, or max.
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
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
def get_processor_model() -> str:
    """Return the name that the processor gives itself, such as `AMD EPYC 7B13`; empty where it is not known."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


@functools.cache
def describe_processor() -> str:
    """Return the architecture and its sets of instructions, such as `x86_64 SSE41 AVX FMA3 AVX2`."""
    return " ".join([platform.machine(), *(name for name in DISPATCHED if _features().get(name))])


def has_bfloat16() -> bool | None:
    """Whether the processor has instructions for bfloat16; None where it does not say (other systems than Linux)."""
    try:
        words = set(CPU_INFO.read_text().split())
    except OSError:
        return None
    # x86 calls it by the first two names, ARM by the last.
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def count_cores() -> int:
    """Return how many cores this process may use: its affinity and, in a container, its quota (Linux)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
        return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def _features() -> dict[str, bool]:
    # NumPy asks the processor itself, on every platform; it has no public name for the answer.
    multiarray = import_module("numpy._core._multiarray_umath")
    features: dict[str, bool] = getattr(multiarray, "__cpu_features__", {})
    return features
