"""Traversals of the latent space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from models.marks import read_marks
from training.runs.latent_traversal import REACH, STEPS, traverse, write_code_traversals


def test_a_traversal_moves_one_entry_and_keeps_the_others() -> None:
    latents = np.random.RandomState(0).normal(size=(2, 5)).astype(np.float32)

    z = traverse(latents, 3).reshape(2, STEPS, 5)

    assert z.dtype == np.float32
    assert np.allclose(z[:, :, 3], np.linspace(-REACH, REACH, STEPS))
    others = [0, 1, 2, 4]
    assert np.array_equal(z[:, :, others], np.repeat(latents[:, None], STEPS, axis=1)[:, :, others])


def test_the_picture_of_a_traversal_says_that_it_is_synthetic_and_has_no_address(
    tiny_generator: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "codes.png"

    write_code_traversals(tiny_generator, 8, 3, 1, path)

    marks = read_marks(path.read_bytes())
    assert (marks.is_synthetic, marks.addresses) == (True, ())
