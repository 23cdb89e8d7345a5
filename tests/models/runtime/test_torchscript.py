"""The torch runtime: floats to pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models import artifact
from models.errors import InputError
from models.runtime.torchscript import to_uint8


@pytest.mark.parametrize(
    ("value", "pixel"),
    [(-1.0, 0), (1.0, 255), (0.0, 128), (-0.5, 64), (0.5, 191), (0.999, 255), (0.99, 254), (-0.999, 0)],
)
def test_minus_one_to_one_becomes_0_to_255_to_the_nearest(value: float, pixel: int) -> None:
    assert to_uint8(torch.full((1, 1, 1, 1), value)).tolist() == [[[[pixel]]]]


@pytest.mark.parametrize(
    ("value", "pixel"), [(-1.01, 0), (-3.0, 0), (-1e9, 0), (1.01, 255), (3.0, 255), (1e9, 255), (float("inf"), 255)]
)
def test_values_outside_are_clipped_not_wrapped(value: float, pixel: int) -> None:
    assert to_uint8(torch.full((1, 1, 1, 1), value)).tolist() == [[[[pixel]]]]


def test_every_pixel_value_can_be_made() -> None:
    wanted = np.arange(256, dtype=np.uint8)
    values = torch.from_numpy(wanted.astype(np.float32)) / 127.5 - 1
    assert (to_uint8(values.reshape(1, 1, 16, 16)).numpy().ravel() == wanted).all()


def test_pixels_come_as_contiguous_rows_columns_channels() -> None:
    images = torch.linspace(-1, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    pixels = to_uint8(images).numpy()
    assert pixels.shape == (2, 4, 5, 3) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    for n, c, y, x in np.ndindex(2, 3, 4, 5):
        assert abs(pixels[n, y, x, c] - (float(images[n, c, y, x]) + 1) * 127.5) <= 0.51


def test_the_generators_output_is_left_as_it_was() -> None:
    images = torch.full((1, 1, 2, 2), 0.25)
    to_uint8(images)
    assert (images == 0.25).all()


def test_a_generator_that_takes_labels_refuses_a_mixture_of_classes() -> None:
    sampler = artifact.load(Path(__file__).parents[2] / "data" / "v0.1" / "artifact", runtime="torchscript")
    z, class_weights = sampler.draw_inputs(sampler.manifest.addresses(seed=0, n=sampler.batch_size, labels=0))
    sampler.runtime.run(z, class_weights)
    for mixture in ((0.5, 0.5), (1.0, 0.25), (0.0, 0.0), (0.75, 0.0)):
        mixed = class_weights.copy()
        mixed[0, :2] = mixture
        with pytest.raises(
            InputError, match=r"labels: a model of schema 1 cannot mix classes; .*ganmint models upgrade"
        ):
            sampler.runtime.run(z, mixed)
