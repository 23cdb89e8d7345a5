"""Prove on this processor that an image's bits depend neither on its batch nor on the number of threads."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from models.runtime.onnx import OnnxRuntime

log = logging.getLogger("ganmint.models")


def is_batch_independent(runtime: OnnxRuntime, z: NDArray[np.float32], class_weights: NDArray[np.float32]) -> bool:
    """Tell whether these latents give the same floats alone, in twos and in the best batch, on one and all threads.

    Args: z, float32 (n, z_dim), and class_weights, float32 (n, num_classes), such as the goldens'.
    """
    alone = _run_in_batches(runtime, z, class_weights, 1, use_all_cores=False)
    for size in sorted({1, 2, runtime.batch_size}):
        for use_all_cores in (False, True):
            # Compared as bytes: NaNs are never equal, and -0.0 is equal to 0.0.
            if _run_in_batches(runtime, z, class_weights, size, use_all_cores).tobytes() != alone.tobytes():
                threads = "all cores" if use_all_cores else "one thread"
                log.warning("the bits of onnxruntime depend on the batch here: %d images on %s", size, threads)
                return False
    return True


def _run_in_batches(
    runtime: OnnxRuntime, z: NDArray[np.float32], class_weights: NDArray[np.float32], size: int, use_all_cores: bool
) -> NDArray[np.float32]:
    """Return the float images, each made in a full batch: the last one begins again at the first latent."""
    rows = np.arange(-(-len(z) // size) * size) % len(z)
    images = [runtime.run_float(z[batch], class_weights[batch], use_all_cores) for batch in rows.reshape(-1, size)]
    return np.concatenate(images)[: len(z)]
