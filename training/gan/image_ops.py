"""Operations on batches of images: averaging and clipping."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from training.averaging import averaging_factor


def average_pixels(images: Tensor) -> Tensor:
    """Halve images, float (N, C, H, W), until the shorter side is at most MAX_SIDE."""
    factor = averaging_factor(*images.shape[2:])
    return F.avg_pool2d(images, factor) if factor > 1 else images


def clip_pixels(images: Tensor) -> Tensor:
    """Clip images to -1 .. 1; gradients pass unless they would lead further outside.

    The gradient of a plain clamp is zero outside, so a pixel that is wrongly black could never become white.
    """
    result: Tensor = _Clip.apply(images)  # type: ignore[no-untyped-call]
    return result


class _Clip(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        ctx.save_for_backward(images)
        return images.clamp(-1, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (images,) = ctx.saved_tensors
        # A descent goes against the gradient.
        leads_outside = ((images < -1) & (gradient > 0)) | ((images > 1) & (gradient < 0))
        return gradient.masked_fill(leads_outside, 0.0)
