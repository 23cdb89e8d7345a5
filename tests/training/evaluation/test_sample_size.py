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

LEFT = "100 images of each, and 400 to train on, as at most 25% of these stand in for generated ones"


@pytest.mark.parametrize(("images", "classes"), [(700, 7), (900, 7), (1100, 7), (4000, 1000)])
def test_the_settings_that_are_named_keep_enough_images(images: int, classes: int) -> None:
    groups = np.arange(images) % classes

    words = describe_too_few(groups, TENTHS, num_test=0)

    holdout, validation = map(float, re.findall(r"--set data\.\w+=(\S+)", words))
    train, chosen_by, tested_with = count_parts(groups, holdout, validation)
    assert STANDARD.min_images <= min(chosen_by, tested_with)
    assert train // 4 >= STANDARD.min_images


@pytest.mark.parametrize(
    ("images", "num_test", "words"),
    [
        (2000, 0, ""),
        (600, 400, "at least 100 images of each: --set data.validation=0.2"),
        (500, 0, f"{LEFT}: add images until there are about 688, or publish with --accept"),
        (450, 400, f"{LEFT}: add images until there are about 550, or publish with --accept"),
        (2000, 20, "add 80 test images, or publish with --accept"),
    ],
)
def test_what_helps_depends_on_the_part_that_is_small(images: int, num_test: int, words: str) -> None:
    shares = TENTHS.model_copy(update={"holdout": 0.0}) if num_test else TENTHS

    said = describe_too_few(np.zeros(images, np.int64), shares, num_test)

    assert said.endswith(words)
    assert bool(said) == bool(words)


def test_parts_that_leave_too_few_to_train_on_are_made_smaller() -> None:
    said = describe_too_few(np.zeros(800, np.int64), DataConfig(holdout=0.35, validation=0.35), num_test=0)

    assert said.endswith(f"{LEFT}: --set data.holdout=0.15 --set data.validation=0.15")


def test_classes_that_are_too_small_to_be_divided_need_images_of_their_own() -> None:
    assert "add images to each class" in describe_too_few(np.arange(900), TENTHS, num_test=0)
