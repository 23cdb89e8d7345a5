"""Resolve `precision: auto` by the device, and say what the chosen one means on it."""

from __future__ import annotations

import torch

from models.runtime.processor import has_bfloat16
from training.config import Config


def resolve_precision(config: Config, device: str, saved: Config | None = None) -> Config:
    """Return the configuration with a stated precision: that of the run that it resumes, or the device's own.

    Args:
        config: with any precision.
        device: a torch device name.
        saved: the configuration of the run that is resumed.
    """
    if config.precision != "auto":
        return config
    resolved = "bfloat16" if _has_bfloat16(device) else "float32"
    return config.model_copy(update={"precision": saved.precision if saved else resolved})


def describe_precision(config: Config, device: str, is_resumed: bool) -> str:
    """Return a line about a resolved precision: which, and what to do where the device only imitates it."""
    if config.precision != "bfloat16" or _has_bfloat16(device) is not False:
        return config.precision
    if is_resumed:
        return (
            "bfloat16, as the run was begun; this device only imitates it, slowly. For float32 begin a new run: --init"
        )
    return "bfloat16, which this device only imitates, slowly; give --set precision=float32"


def _has_bfloat16(device: str) -> bool | None:
    """Whether a device has instructions for bfloat16; None where it does not say."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return has_bfloat16() if device == "cpu" else None
