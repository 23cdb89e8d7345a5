"""Read data sets as a run's configuration says."""

from __future__ import annotations

from pathlib import Path

from models.errors import DataError
from training.data.dataset import Dataset
from training.data.label_scale import LabelScale, measure_scale, put_on_scale
from training.data.loader import load_dataset, load_test_images
from training.data.split import find_mismatch, find_shape_mismatch
from training.data_config import DataConfig


def load(path: Path, config: DataConfig) -> Dataset:
    """Read the data set at a path; of a folder with splits, the training images.

    Raises: DataError naming the file at fault.
    """
    dataset = load_dataset(path, config.columns, config.unlabelled, config.decoding)
    if config.continuous_label:
        return put_on_scale(dataset, measure_scale(dataset, config.continuous_steps))
    return dataset.with_all_combinations() if config.independent_labels else dataset


def load_test(path: Path, config: DataConfig, training: Dataset) -> Dataset | None:
    """Read the test images that are no share of the training images: those at `config.test`, or the data's own.

    Args: path, of the data; training, what `load` read there.
    Returns: images with the classes of `training`; None if there are none.
    Raises: DataError: they cannot be read, or do not match the training images.
    """
    read, place = (load_dataset, Path(config.test)) if config.test else (load_test_images, path)
    test = read(place, config.columns, config.unlabelled, config.decoding)
    if test is None:
        return None
    if mismatch := find_shape_mismatch(training.shape, test.shape):
        raise DataError(place, mismatch)
    if training.has_continuous_label:
        test = put_on_scale(test, LabelScale.of(training.class_names))
    if mismatch := find_mismatch(training.class_names, test.class_names):
        raise DataError(place, mismatch)
    return test.with_classes(training.class_names)
