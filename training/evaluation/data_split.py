"""Splits real images as the generator's training did, and chooses the part that generated images are compared with.

Choices are made on the validation images, and a release is measured on the test images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.errors import DataError
from training import configured_data
from training.data.dataset import Dataset
from training.data.split import Parts, split_dataset
from training.data_config import DataConfig
from training.runs.trained_run import TrainedRun

RequestedPart = Literal["validation", "test"]
Part = Literal["validation", "test", "training"]


@dataclass(frozen=True, eq=False)
class DataSplit:
    """Real images for training, validation and testing.

    Attributes:
        whole: the data set as training reads it.
        train: images uint8 (n, H, W, C), with labels if the data has any; a classifier may learn from them.
        validation: the same, for choices; may be empty.
        test: the same, for a release; may be empty.
        part: which images are compared: validation, test, or training: validation images that were held out for the
            evaluation only, so that a generator trained on `whole` has seen them.
        origin: where the compared images come from, in words.
        note: a sentence for the report if they are not what was asked for.
        mirror: True if a flipped image is as real.
    """

    whole: Dataset
    train: Dataset
    validation: Dataset
    test: Dataset
    part: Part
    origin: str
    note: str = ""
    mirror: bool = False

    @property
    def compared(self) -> Dataset:
        """The real images that generated ones are compared with."""
        return self.test if self.part == "test" else self.validation


def load(path: Path, settings: DataConfig, requested: RequestedPart = "validation", share: float = 0.1) -> DataSplit:
    """Read a data set and split it.

    A part that the data do not have is replaced by the other one, with a note.

    Args:
        path: the data set, as for training.
        settings: how the generator's training read the data and what it kept from the training.
        requested: the part to compare with.
        share: of each class that is held out now if training held out nothing and there are no test images.

    Raises:
        DataError: the data cannot be read, or its test images do not match its training images.
    """
    whole = configured_data.load(path, settings)
    parts = split_dataset(whole, settings.holdout, settings.validation, settings.stratify_holdout)
    test_file = configured_data.load_test(path, settings, whole)
    if test_file is not None:
        parts = parts._replace(test=test_file)
    if not len(parts.validation) and not len(parts.test):
        return hold_out_now(whole, share, path, settings.mirror)
    return DataSplit(
        whole,
        *parts,
        *_choose_part(parts, requested, settings, has_test_file=test_file is not None),
        mirror=settings.mirror,
    )


def load_of_run(path: Path, run: TrainedRun, requested: RequestedPart, share: float) -> DataSplit:
    """Read and split the data set that a run was trained on; the arguments are those of `load`.

    Raises: DataError, also if the data are others.
    """
    split = load(path, run.config.data, requested, share)
    if run.data_info["digest"] not in (split.whole.digest, split.train.digest):
        raise DataError(path, f"is not what {run.path} was trained on ({run.data_info['name']}); give that --data")
    return split


def hold_out_now(whole: Dataset, share: float, path: Path, mirror: bool = False) -> DataSplit:
    """Hold out a share of every class of data that a generator was trained on as a whole.

    Raises:
        DataError: there are too few images to hold any out.
    """
    parts = split_dataset(whole, 0.0, share)
    if not len(parts.validation):
        raise DataError(path, f"holds {len(whole)} images: too few to hold out {share:.0%} of each class for testing")
    return DataSplit(
        whole,
        *parts,
        part="training",
        origin=f"{share:.0%} of each class, held out for this evaluation",
        note="No images were kept from the training, so a share of them was held out for this evaluation. The "
        "generator was trained on that share as well, which makes its results look better. Train with --set "
        "data.validation=0.1 to hold it out.",
        mirror=mirror,
    )


def _choose_part(
    parts: Parts, requested: RequestedPart, settings: DataConfig, has_test_file: bool
) -> tuple[Part, str, str]:
    """Return the part that is compared, its origin and the note; one of both parts is not empty."""
    test_origin = "the data's own test images" if has_test_file else f"{settings.holdout:.0%}, held out in training"
    validation_origin = f"{settings.validation:.0%} of each class, held out in training"
    if requested == "validation" and len(parts.validation):
        return "validation", validation_origin, ""
    if requested == "test" and len(parts.test):
        return "test", test_origin, ""
    if requested == "validation":
        return (
            "test",
            test_origin,
            "The training held out no validation images (data.validation is 0), so this was measured on the test "
            "images. Do not choose settings by it, or the test images no longer stand for new ones.",
        )
    return (
        "validation",
        validation_origin,
        "The data have no test images (no test file, and data.holdout is 0), so this was measured on the validation "
        "images, with which settings and snapshots are chosen.",
    )
