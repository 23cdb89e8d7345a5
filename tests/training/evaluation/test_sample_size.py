"""What is said of parts that are too small to measure a generator by."""

from __future__ import annotations

import re

import numpy as np
import pytest

from training.data.split import count_parts
from training.data_config import DataConfig
from training.evaluation.protocol import STANDARD
from training.evaluation.sample_size import describe_too_few

TENTHS = DataConfig(holdout=0.1, validation=0.1, stratify_holdout=True)


@pytest.mark.parametrize(("images", "classes"), [(500, 7), (600, 7), (900, 7), (1100, 7), (4000, 1000)])
def test_the_settings_that_are_named_keep_enough_images(images: int, classes: int) -> None:
    groups = np.arange(images) % classes

    words = describe_too_few(groups, TENTHS, num_test=0)

    holdout, validation = map(float, re.findall(r"--set data\.\w+=(\S+)", words))
    _, chosen_by, tested_with = count_parts(groups, holdout, validation)
    assert STANDARD.min_images <= min(chosen_by, tested_with)
    assert chosen_by + tested_with < images * 2 / 3


@pytest.mark.parametrize(
    ("images", "num_test", "words"),
    [
        (2000, 0, ""),
        (600, 400, "at least 100 images of each: --set data.validation=0.2"),
        (300, 0, "add images, or publish with --accept"),
        (2000, 20, "add images, or publish with --accept"),
    ],
)
def test_what_helps_depends_on_the_part_that_is_small(images: int, num_test: int, words: str) -> None:
    shares = TENTHS.model_copy(update={"holdout": 0.0}) if num_test else TENTHS

    said = describe_too_few(np.zeros(images, np.int64), shares, num_test)

    assert said.endswith(words)
    assert bool(said) == bool(words)
