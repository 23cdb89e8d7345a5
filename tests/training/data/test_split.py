"""How a data set is split, and that saved configurations keep their parts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from training.config_files import list_presets, load_preset, read_data_config
from training.data.dataset import Dataset
from training.data.split import count_parts, split_dataset
from training.data.toys import toy25


def numbered(count: int) -> Dataset:
    """The pixel of each image is its index."""
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Dataset("numbered", images, np.arange(count, dtype=np.int64) % 3, ("a", "b", "c"))


def rows_digest(part: Dataset) -> str:
    return hashlib.sha256(part.images.ravel().astype("<i8").tobytes()).hexdigest()


def test_a_configuration_of_an_earlier_version_keeps_its_images_from_the_training() -> None:
    """Golden: by these rules the published faces and their successors were trained without their test images."""
    size = 12_729
    labels = np.random.RandomState(7).randint(0, 6, size)
    rows = Dataset("rows", np.arange(size, dtype=np.float32).reshape(size, 1, 1, 1), labels, tuple("abcdef"))
    test = "7048a33738ef191bb19ec7b08d355882c3d680799b229cdb365798e09076caf7"
    for saved, train, validation in (
        ({"holdout": 0.1}, "cddd7945389f8d713b2d8ed85db5b57993f5be056e5d77cff54f6d7fcc853a44", None),
        (
            {"holdout": 0.1, "validation": 0.1},
            "053c5d933abd5ab4739ebaae074c0d5fe3874e81029ea6f854a1e935bd4caf2f",
            "de75d61f5470a6c0f3438e294acd7a02b4c30bea1ee975dbe326303b930ac0fd",
        ),
    ):
        data = read_data_config({"data": saved})
        parts = split_dataset(rows, data.holdout, data.validation, data.stratify_holdout)

        assert rows_digest(parts.test) == test
        assert rows_digest(parts.train) == train
        assert validation is None or rows_digest(parts.validation) == validation


def test_the_faces_preset_keeps_the_test_images_of_the_published_faces() -> None:
    data = load_preset("faces-cpu").data

    assert (data.holdout, data.stratify_holdout, data.validation) == (0.1, False, 0.1)


def test_every_preset_with_images_keeps_a_tenth_for_choices() -> None:
    presets = [load_preset(name) for name in list_presets()]
    by_name = {config.preset: config.data for config in presets if config.data.kind == "images"}

    assert all(data.validation == 0.1 for data in by_name.values())
    assert by_name["own"].holdout == 0.1 and by_name["own"].stratify_holdout


@pytest.mark.parametrize("stratify", [True, False])
def test_every_image_with_its_label_is_in_one_part(stratify: bool) -> None:
    whole = numbered(240)

    parts = split_dataset(whole, 0.1, 0.25, stratify)

    assert [len(part) for part in parts] == [162, 54, 24]
    assert count_parts(whole.groups, 0.1, 0.25, stratify) == (162, 54, 24)
    assert sorted(pixel for part in parts for pixel in part.images.flat) == list(range(240))
    for part in parts:
        assert part.labels is not None
        assert (part.images.ravel() % 3 == part.labels).all()
        assert (np.diff(part.images.ravel().astype(int)) > 0).all()
        assert part.class_names == whole.class_names


def test_a_holdout_that_is_not_stratified_depends_only_on_the_number_of_images() -> None:
    one, other = numbered(200), Dataset("other", np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1))

    held_out = split_dataset(one, 0.1, 0.0, stratify_holdout=False).test

    assert np.array_equal(held_out.images, split_dataset(other, 0.1, 0.0, stratify_holdout=False).test.images)
    pinned = split_dataset(one, 0.025, 0.0, stratify_holdout=False).test
    assert pinned.images.ravel().tolist() == [11, 16, 29, 77, 132]
    fewer = split_dataset(numbered(199), 0.1, 0.0, stratify_holdout=False).test
    assert set(fewer.images.flat) != set(held_out.images.flat)


@pytest.mark.parametrize("stratify", [True, False])
def test_a_larger_holdout_contains_the_smaller_one(stratify: bool) -> None:
    small, large = (set(split_dataset(numbered(200), share, 0.0, stratify).test.images.flat) for share in (0.1, 0.2))

    assert small < large


def test_each_class_gives_the_same_share() -> None:
    """The validation rows are golden: a saved run must go on without the same validation images."""
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    whole = Dataset("counted", images, np.repeat([0, 1], [14, 6]), ("a", "b"))

    train, validation, _ = split_dataset(whole, 0.0, 0.3)
    test = split_dataset(whole, 0.3, 0.0).test

    assert validation.images.ravel().tolist() == [1, 4, 6, 13, 14, 15]
    assert train.images.ravel().tolist() == [0, 2, 3, 5, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19]
    for part in (validation, test):
        assert part.labels is not None and part.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert test.images.ravel().tolist() != validation.images.ravel().tolist()
    plain = split_dataset(Dataset("plain", images), 0.0, 0.3)
    assert (len(plain.train), len(plain.validation)) == (14, 6)


def test_shares_of_zero_copy_nothing() -> None:
    whole = numbered(20)

    train, validation, test = split_dataset(whole, 0.0, 0.0)

    assert train is whole
    assert len(validation) == len(test) == 0


def test_toy_data_can_be_split_too() -> None:
    train, _, test = split_dataset(toy25(), 0.5, 0.0)

    assert len(train) == len(test) == 32768
    assert train.images.dtype == np.float32
