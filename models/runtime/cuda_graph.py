"""Run one fixed batch on a GPU as a single launch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# TorchScript profiles its first runs, then optimises; it may be captured only after that.
WARM_UP_RUNS = 5


class CudaGraph:
    """A captured forward: a generator's hundred small kernels cost one launch (torch's "CUDA Graphs" note).

    The captured kernels, and so the bytes, are those of the eager forward at the same batch size. Make and run it
    in inference mode, from one thread at a time.

    Args:
        forward: (z float32 (B, z_dim), class weights float32 (B, num_classes)) -> uint8 (B, H, W, C), all on `device`.
        z_shape: (B, z_dim).
        class_weights_shape: (B, num_classes).
        device: a CUDA device.
    """

    def __init__(
        self,
        forward: Callable[[Tensor, Tensor], Tensor],
        z_shape: tuple[int, int],
        class_weights_shape: tuple[int, int],
        device: torch.device,
    ) -> None:
        # Only copies from pinned memory run in parallel with the processor.
        self._z_host = torch.zeros(z_shape).pin_memory()
        self._class_weights_host = torch.zeros(class_weights_shape).pin_memory()
        self._z = self._z_host.to(device)
        self._class_weights = self._class_weights_host.to(device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP_RUNS):
                forward(self._z, self._class_weights)
            self._stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may allocate meanwhile, because models are loaded while others serve.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._pixels = forward(self._z, self._class_weights)
        self._pixels_host = torch.zeros(self._pixels.shape, dtype=torch.uint8).pin_memory()

    def run(self, z: NDArray[np.float32], class_weights: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the batch's pixels, uint8 (B, H, W, C); the next run overwrites them.

        Args: z, float32 (B, z_dim); class_weights, float32 (B, num_classes).
        """
        self._z_host.copy_(torch.from_numpy(z))
        self._class_weights_host.copy_(torch.from_numpy(class_weights))
        with torch.cuda.stream(self._stream):
            self._z.copy_(self._z_host, non_blocking=True)
            self._class_weights.copy_(self._class_weights_host, non_blocking=True)
            self._graph.replay()
            self._pixels_host.copy_(self._pixels, non_blocking=True)
        # This waits without the interpreter's lock.
        self._stream.synchronize()
        return self._pixels_host.numpy()
