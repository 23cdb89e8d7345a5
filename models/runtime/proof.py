"""Prove on this processor that an image's bits depend neither on its batch nor on the number of threads."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from models.runtime.onnx import OnnxRuntime

log = logging.getLogger("ganmint.models")


def prove_batch_independence(runtime: OnnxRuntime, z: NDArray[np.float32], class_weights: NDArray[np.float32]) -> bool:
    """Return whether these latents give the same floats alone, in twos and in the best batch, on one and all threads.

    Args: z, float32 (n, z_dim), and class_weights, float32 (n, num_classes), such as the goldens'.
    """
    reference: NDArray[np.float32] | None = None
    for size in sorted({1, 2, runtime.batch_size}):
        for use_all_cores in (False, True):
            images = [
                runtime.run_float(z[start : start + size], class_weights[start : start + size], use_all_cores)
                for start in range(0, len(z), size)
            ]
            floats = np.concatenate(images)
            reference = floats if reference is None else reference
            # Compared as bytes: NaNs are never equal, and -0.0 is equal to 0.0.
            if floats.tobytes() != reference.tobytes():
                threads = "all threads" if use_all_cores else "one thread"
                log.warning("onnxruntime's bits depend on the batch here: %d on %s differs from 1", size, threads)
                return False
    return True
