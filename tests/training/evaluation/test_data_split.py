"""Which real images an evaluation compares with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import DataError
from tests.training.data.samples import mixed_folder
from tests.training.evaluation.conftest import DIGITS
from training.data.dataset import Dataset
from training.data.decoding import Size
from training.data.loader import load_dataset
from training.data.split import split_dataset
from training.data_config import DataConfig
from training.evaluation import data_split
from training.evaluation.data_split import RequestedPart

BOTH = DataConfig(holdout=0.2, stratify_holdout=True, validation=0.1, mirror=True)


@pytest.mark.parametrize(("requested", "count"), [("validation", 40), ("test", 100)])
def test_the_requested_part_is_compared(requested: RequestedPart, count: int) -> None:
    parts = split_dataset(load_dataset(DIGITS), 0.2, 0.1)

    split = data_split.load(DIGITS, BOTH, requested)

    assert split.part == requested and len(split.compared) == count and not split.note
    assert split.train.digest == parts.train.digest
    assert split.compared.digest == getattr(parts, requested).digest
    assert split.mirror


def test_a_test_file_makes_the_test_images_and_leaves_the_validation_images(tmp_path: Path) -> None:
    for file in DIGITS.iterdir():
        (tmp_path / file.name).symlink_to(file)
        (tmp_path / file.name.replace("train", "t10k")).symlink_to(file)

    split = data_split.load(tmp_path, DataConfig(validation=0.1), "test")

    assert (len(split.train), len(split.validation), len(split.test)) == (450, 50, 500)
    assert split.part == "test" and split.origin == "the data's own test images"


def test_images_are_fitted_as_the_settings_say(tmp_path: Path) -> None:
    settings = DataConfig(size=Size(20, 16), test=str(mixed_folder(tmp_path / "test")))

    split = data_split.load(mixed_folder(tmp_path / "set"), settings, "test")

    assert split.train.shape == split.test.shape == (3, 16, 20)


def test_a_part_that_is_missing_is_replaced_with_a_note() -> None:
    no_validation = data_split.load(DIGITS, DataConfig(holdout=0.2), "validation")
    assert no_validation.part == "test" and len(no_validation.compared) == 100
    assert "no validation images (data.validation is 0)" in no_validation.note

    no_test = data_split.load(DIGITS, DataConfig(validation=0.1), "test")
    assert no_test.part == "validation" and len(no_test.compared) == 50
    assert "no test images (no test file, and data.holdout is 0)" in no_test.note


def test_without_any_a_share_is_held_out_now() -> None:
    split = data_split.load(DIGITS, DataConfig(), "test", share=0.3)

    assert split.part == "training" and "trained on that share as well" in split.note
    assert split.compared.labels is not None and np.bincount(split.compared.labels).tolist() == [15] * 10
    train, compared = ({image.tobytes() for image in part.images} for part in (split.train, split.compared))
    assert not train & compared


def test_too_few_images_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 3 images: too few to hold out 10% of each class for testing"):
        data_split.hold_out_now(Dataset("few", np.zeros((3, 8, 8, 1), np.uint8)), 0.1, tmp_path)
