"""Traversals of the latent space."""

from __future__ import annotations

import numpy as np

from training.runs.latent_traversal import REACH, STEPS, traverse


def test_a_traversal_moves_one_entry_and_keeps_the_others() -> None:
    latents = np.random.RandomState(0).normal(size=(2, 5)).astype(np.float32)

    z = traverse(latents, 3).reshape(2, STEPS, 5)

    assert z.dtype == np.float32
    assert np.allclose(z[:, :, 3], np.linspace(-REACH, REACH, STEPS))
    others = [0, 1, 2, 4]
    assert np.array_equal(z[:, :, others], np.repeat(latents[:, None], STEPS, axis=1)[:, :, others])
