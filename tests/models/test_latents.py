"""Scheme 1, pinned by literal numbers: a difference here is another scheme, never a test to adapt."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

import numpy as np
import pytest

from models.latents import MAX_INTEGER, draw_label, draw_latent, mix_latents

FIRST_FOUR = [
    (0, 0, [0.5854918956756592, 0.7299773693084717, -0.2018883228302002, 2.0534424781799316]),
    (7, 0, [-0.29868850111961365, 0.8723044395446777, -2.071925640106201, 0.21025554835796356]),
    (7, 1, [0.03729722276329994, 0.12243060767650604, -1.7603105306625366, -0.7470496296882629]),
    (0, 7, [0.11688777059316635, 0.1829385608434677, 0.06990493088960648, 1.1651345491409302]),
    (2**32, 2**40, [-0.4612943232059479, -1.0771663188934326, -0.3733682334423065, -0.6942096948623657]),
    (MAX_INTEGER, MAX_INTEGER, [0.1666208952665329, -0.5218781232833862, 2.4559171199798584, 0.6826673150062561]),
]


@pytest.mark.parametrize("z_dim", [4, 8, 64, 512])
@pytest.mark.parametrize(("seed", "index", "first_four"), FIRST_FOUR)
def test_the_first_values_of_a_latent_never_change(seed: int, index: int, z_dim: int, first_four: list[float]) -> None:
    assert draw_latent(seed, index, z_dim)[:4].tolist() == first_four


def test_the_largest_integer_is_the_largest_that_javascript_counts_with() -> None:
    assert MAX_INTEGER == 9007199254740991


def test_a_latent_is_float32_of_the_length_asked_for() -> None:
    z = draw_latent(3, 4, 5)
    assert z.dtype == np.float32 and z.shape == (5,)


@pytest.mark.parametrize("z_dim", [1, 7, 8, 63])
def test_a_shorter_latent_is_the_beginning_of_a_longer_one(z_dim: int) -> None:
    np.testing.assert_array_equal(draw_latent(5, 6, z_dim), draw_latent(5, 6, 64)[:z_dim])


def test_a_latent_does_not_depend_on_what_was_drawn_before() -> None:
    places = [(seed, index) for seed in (0, 1, MAX_INTEGER) for index in (0, 1, 2, MAX_INTEGER)]
    in_order = {place: draw_latent(*place, 16).tobytes() for place in places}
    shuffled = places * 2
    random.Random(0).shuffle(shuffled)
    np.random.seed(1)
    for place in shuffled:
        draw_label(*place, 16, 10)
        np.random.standard_normal(3)
        assert draw_latent(*place, 16).tobytes() == in_order[place]


def test_no_two_streams_share_a_value() -> None:
    streams = [draw_latent(seed, index, 1000) for seed in (0, 1) for index in (0, 1, 2, 2**52)]
    assert len(np.unique(np.concatenate(streams))) > 0.999 * 8000


def test_a_latent_is_standard_normal_over_indices() -> None:
    z = np.stack([draw_latent(11, index, 8) for index in range(2000)])
    assert np.abs(z.mean(axis=0)).max() < 0.1
    assert np.abs(np.cov(z, rowvar=False) - np.eye(8)).max() < 0.15


@pytest.mark.parametrize(
    ("seed", "index", "z_dim", "labels", "label"),
    [
        (0, 0, 8, 10, 9),
        (0, 0, 64, 10, 7),
        (7, 0, 8, 10, 1),
        (7, 0, 64, 10, 9),
        (7, 1, 8, 3, 2),
        (0, 7, 64, 10, 6),
        (2**32, 2**40, 8, 3, 2),
        (MAX_INTEGER, MAX_INTEGER, 8, 10, 5),
        (MAX_INTEGER, MAX_INTEGER, 64, 10, 8),
        (5, 5, 8, 1, 0),
    ],
)
def test_drawn_labels_never_change(seed: int, index: int, z_dim: int, labels: int, label: int) -> None:
    assert draw_label(seed, index, z_dim, labels) == label


def test_a_label_left_out_is_drawn_from_the_samples_own_stream_after_z() -> None:
    for index in range(20):
        stream = np.random.RandomState(np.random.Philox(key=[9, 1], counter=[0, 0, index, 0]))
        z = stream.standard_normal(16)
        label = stream.randint(0, 10, dtype=np.int64)
        np.testing.assert_array_equal(draw_latent(9, index, 16), z.astype(np.float32))
        assert draw_label(9, index, 16, 10) == label


def test_drawn_labels_are_uniform() -> None:
    counts = np.bincount([draw_label(1, index, 8, 5) for index in range(2000)], minlength=5)
    assert counts.shape == (5,) and counts.min() > 340 and counts.max() < 460


@pytest.mark.parametrize("t", [0.0001, 0.25, 0.5, 0.9])
def test_a_mixture_stays_standard_normal(t: float) -> None:
    z = mix_latents(draw_latent(1, 0, 20_000), draw_latent(2, 0, 20_000), t)
    assert z.dtype == np.float32
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.02


def test_a_mixture_is_rounded_once() -> None:
    z0, z1, t = draw_latent(1, 0, 500), draw_latent(2, 0, 500), 0.3
    with localcontext() as context:
        context.prec = 60
        share, other = Decimal(t), 1 - Decimal(t)
        norm = (share * share + other * other).sqrt()
        exact = [float((other * Decimal(float(a)) + share * Decimal(float(b))) / norm) for a, b in zip(z0, z1)]
    mixed = mix_latents(z0, z1, t)
    # A second rounding, or a step in float32, would move many.
    np.testing.assert_array_equal(mixed, np.array(exact, np.float32))


def test_the_two_ends_of_a_mixture_change_places() -> None:
    z0, z1 = draw_latent(1, 0, 100), draw_latent(2, 0, 100)
    np.testing.assert_array_equal(mix_latents(z0, z1, 0.25), mix_latents(z1, z0, 0.75))
