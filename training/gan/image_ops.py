"""Images as others see them: clipped, as users get them; averaged, as coarse as strokes are.

Knows: the range of pixels, and how far images are averaged. Does not know: losses.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Pixels are averaged until a side is at most this: strokes shall meet, not pixels.
SIDE = 16


def averaged(images: Tensor) -> Tensor:
    """Images, float (n, C, H, W), halved until a side is at most SIDE."""
    factor = 1
    while min(images.shape[2:]) > SIDE * factor:
        factor *= 2
    return F.avg_pool2d(images, factor) if factor > 1 else images


def distance(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance of averaged images, float (n, C, H, W) each, to float (n,)."""
    return (averaged(made) - averaged(wanted)).square().flatten(1).mean(1)


def clipped(images: Tensor) -> Tensor:
    """Images within -1 .. 1; their gradient passes but where it would lead further out.

    A plain clamp's gradient is zero outside, so that what is wrongly black could never become white.
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
        outwards = ((images < -1) & (gradient > 0)) | ((images > 1) & (gradient < 0))
        return gradient.masked_fill(outwards, 0.0)
