"""What is said of parts that are too small to measure a generator by."""

from __future__ import annotations

import re

import numpy as np
import pytest

from training.data.dataset import Dataset
from training.data.split import count_parts
from training.evaluation.protocol import STANDARD
from training.evaluation.sample_size import describe_too_few


@pytest.mark.parametrize("images", [500, 600, 900, 1100])
def test_the_settings_that_are_named_keep_enough_images(images: int) -> None:
    labels = np.arange(images) % 7
    dataset = Dataset("some", np.zeros((images, 1, 1, 1), np.uint8), labels, tuple("abcdefg"))

    words = describe_too_few(images, images * 9 // 100, images // 10, has_test_images=False)

    holdout, validation = map(float, re.findall(r"--set data\.\w+=(\S+)", words))
    _, chosen_by, tested_with = count_parts(dataset, holdout, validation)
    assert STANDARD.min_images <= min(chosen_by, tested_with)
    assert chosen_by + tested_with < images * 2 / 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((2000, 180, 200, False), ""),
        ((600, 60, 400, True), "at least 100 images of each: --set data.validation=0.2"),
        ((300, 27, 30, False), "add images, or publish with --accept"),
        ((2000, 200, 20, True), "add images, or publish with --accept"),
    ],
)
def test_what_helps_depends_on_the_part_that_is_small(arguments: tuple[int, int, int, bool], words: str) -> None:
    said = describe_too_few(*arguments)

    assert said.endswith(words)
    assert bool(said) == bool(words)
