"""Inspect a data set before training: go through every image and report whatever prevents a training.

Unlike loading, inspection does not stop at the first unreadable image.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import DamagedFileError, DataError
from training.data import image_files, image_folder
from training.data.archive import FileSource, open_source
from training.data.contact_sheet import ContactSheet
from training.data.decoding import AS_THEY_ARE, Box, Decoding, Size
from training.data.doubts import doubt_classes, doubt_duplicates, doubt_leaks
from training.data.fitting import is_enlarged
from training.data.folder_labels import UNLABELLED, FolderLabels
from training.data.image_files import Picture
from training.data.label_scale import find_ends, is_scale, read_values
from training.data.labels import LabelColumn
from training.data.layout import find_layout
from training.data.loader import Kind, find_kind, load_dataset, load_test_images
from training.data.split import find_mismatch, find_shape_mismatch
from training.own_preset import SIDES

Pixels = NDArray[np.uint8]
Role = Literal["all", "training", "test"]
# Larger images need a GPU.
LARGEST_SUGGESTED = 64
# The setting that leaves out damaged images.
SKIP_DAMAGED = "data.skip_damaged=true"


@dataclass
class DatasetReport:
    """The findings of an inspection.

    Attributes:
        num_images: the number of images to train on, unreadable ones included.
        num_test_images: the same of the data's own test images.
        decoding: how the pixels are read.
        sizes: the number of images by (width, height, channels), before files are brought to one size.
        enlarged: how many have fewer pixels than that size.
        classes: the number of images by class, in label order; empty if there are no labels.
        continuous_label: the column of numbers whose values the classes are; "" if they are classes.
        unreadable: one error for each image that cannot be read.
        duplicates: names of images with equal pixels, each group in order.
        labels_error: why labels cannot be read, or those of the test images do not fit to the others.
        doubts: what looks like a mistake, one sentence each.
        unused: names of the files that are not used.
        digests: of the training images' pixels.
    """

    num_images: int = 0
    num_test_images: int = 0
    decoding: Decoding = AS_THEY_ARE
    enlarged: int = 0
    sizes: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    classes: dict[str, int] = field(default_factory=dict)
    continuous_label: str = ""
    unreadable: list[DataError] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    labels_error: DataError | None = None
    unused: tuple[str, ...] = ()
    doubts: list[str] = field(default_factory=list)
    digests: frozenset[bytes] = frozenset()

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the images as training would read them; None unless all have one size."""
        size = self.decoding.size
        sides = {(size.height, size.width) if size else (height, width) for width, height, _ in self.sizes}
        if len(sides) != 1:
            return None
        # One RGB image makes the whole set RGB.
        channels = 3 if self.decoding.is_coloured else max(channels for _, _, channels in self.sizes)
        return (channels, *sides.pop())

    @property
    def groups(self) -> NDArray[np.int64]:
        """The groups of the images to train on, as a data set has them, but not in the order of the images."""
        counts = list(self.classes.values()) or [self.num_images]
        if self.continuous_label:
            counts = [sum(counts)]
        return np.repeat(np.arange(len(counts)), counts)

    @property
    def has_mixed_channels(self) -> bool:
        """Whether some images are grey and others RGB."""
        return len({channels for _, _, channels in self.sizes}) > 1

    @property
    def _problems(self) -> list[DataError]:
        """The images that cannot be read and are not left out."""
        is_skipped = self.decoding.skip_damaged and self.sizes
        return [error for error in self.unreadable if not (is_skipped and isinstance(error, DamagedFileError))]

    @property
    def mending_settings(self) -> tuple[str, ...]:
        """Settings that take the obstacles out of the way; none if some stay."""
        problems = self._problems
        if self.labels_error or not self.sizes or not all(isinstance(error, DamagedFileError) for error in problems):
            return ()
        size = () if self.shape else (f"data.size={suggest_side(self.sizes)}",)
        return (*size, *((SKIP_DAMAGED,) if problems else ()))

    @property
    def obstacles(self) -> list[str]:
        """What prevents a training, one sentence each; empty if nothing does."""
        obstacles = []
        if self.labels_error:
            obstacles.append(str(self.labels_error))
        problems = self._problems
        if problems:
            obstacles.append(
                f"{len(problems)} of {self.num_images + self.num_test_images} images cannot be read; "
                f"{_find_remedy(problems)}"
            )
        if self.sizes and self.shape is None:
            obstacles.append(
                "the images have different sizes; bring them to one size with --set data.size="
                f"{suggest_side(self.sizes)} in training (here: --size {suggest_side(self.sizes)}), which crops, or "
                "see data.fit"
            )
        return obstacles


def _find_remedy(problems: list[DataError]) -> str:
    if all(isinstance(error, DamagedFileError) for error in problems):
        return "replace or remove them, or leave them out with --set data.skip_damaged=true (here: --skip-damaged)"
    return "replace or remove them" if len(problems) > 1 else problems[0].reason


def suggest_side(sizes: Mapping[tuple[int, int, int], int]) -> int:
    """Return a side that preset own takes: at most 64, and what half of the images have along their shorter side."""
    shorter = sorted(min(width, height) for (width, height, _), count in sizes.items() for _ in range(count))
    most = min(shorter[(len(shorter) - 1) // 2], LARGEST_SUGGESTED)
    return max((side for side in SIDES if side <= most), default=min(SIDES))


class Inspection(NamedTuple):
    """The report, and a contact sheet of images, uint8 (H, W, C); None if no image can be read.

    The sheet shows one class per column if there are few classes, else the images in their order. Images
    of other shapes than the most common one are left out.
    """

    report: DatasetReport
    sheet: Pixels | None


def inspect_dataset(
    path: Path,
    label_columns: Sequence[LabelColumn] = (),
    unlabelled: bool = False,
    decoding: Decoding = AS_THEY_ARE,
    role: Role = "all",
    continuous_label: str = "",
) -> Inspection:
    """Inspect every image of a data set.

    Args:
        path, label_columns, unlabelled, decoding: as for training.data.loader.load_dataset.
        role: "all" for its own test images, too; where test images lie elsewhere, so that its own are not used,
            "training" for it and "test" for the other place.
        continuous_label: the only column of label_columns, if its values are to be numbers.
    Raises: DataError when nothing at all can be read.
    """
    try:
        kind = find_kind(path)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    inspect = _inspect_files if kind is Kind.IMAGES else _inspect_array
    report = DatasetReport(decoding=decoding, continuous_label=continuous_label)
    sheet = inspect(report, path, label_columns, unlabelled, role == "all")
    if continuous_label and report.classes and not report.labels_error:
        try:
            (read_values if role == "test" else find_ends)(report.classes, continuous_label, path)
        except DataError as error:
            report.labels_error = error
    return Inspection(report, sheet)


def compare_test(training: DatasetReport, test: DatasetReport, path: Path) -> list[str]:
    """Compare the reports of training images and of test images that lie elsewhere.

    Training images among the test images become a doubt of `test`.

    Args: path, of the test images.
    Returns: what prevents a training, one sentence each.
    """
    test.doubts += doubt_leaks(len(training.digests & test.digests))
    mismatches = []
    if training.shape and test.shape:
        mismatches.append(find_shape_mismatch(training.shape, test.shape))
    if not (training.labels_error or test.labels_error or training.continuous_label):
        mismatches.append(find_mismatch(list(training.classes), list(test.classes)))
    return [str(DataError(path, mismatch)) for mismatch in mismatches if mismatch]


def _inspect_array(
    report: DatasetReport, path: Path, label_columns: Sequence[LabelColumn], unlabelled: bool, with_own_test: bool
) -> Pixels | None:
    dataset = load_dataset(path, label_columns, unlabelled, report.decoding)
    test = load_test_images(path, label_columns, unlabelled, report.decoding) if with_own_test else None
    report.num_images, report.num_test_images, report.unused = len(dataset), len(test or ()), dataset.unused
    report.enlarged = dataset.origins.enlarged if dataset.origins else 0
    report.unreadable = [
        DamagedFileError(path / name, "cannot be read") for name in dataset.skipped + (test.skipped if test else ())
    ]
    if test and not report.continuous_label:
        report.labels_error = _check_classes(path, dataset.class_names, test.class_names)
    labels = UNLABELLED
    if dataset.labels is not None:
        labels = FolderLabels([dataset.class_names[k] for k in dataset.labels], dataset.class_names)
    scales = [factor.column for factor in dataset.factors if is_scale(factor.values)]
    pixels = np.asarray(dataset.images, np.uint8)
    named_images = ((f"image {k}", Picture(image, *_as_it_is(image))) for k, image in enumerate(pixels))
    return _inspect(report, named_images, labels, scales)


def _inspect_files(
    report: DatasetReport, path: Path, label_columns: Sequence[LabelColumn], unlabelled: bool, with_own_test: bool
) -> Pixels | None:
    with open_source(path) as source:
        layout = find_layout(source)
        test = layout.test if with_own_test else None
        test_images = test.images if test else []
        report.num_images, report.num_test_images = len(layout.training.images), len(test_images)
        labels = UNLABELLED
        try:
            labels, test_labels, report.unused = image_folder.read_all_labels(source, layout, label_columns, unlabelled)
            if test and not report.continuous_label:
                report.labels_error = _check_classes(path, labels.class_names, test_labels.class_names)
        except DataError as error:
            report.labels_error = error
            report.unused = tuple(name for name in layout.list_unused(()) if source.path / name != error.path)
        if layout.test and not test:
            report.unused += tuple(layout.test.images)
        scales = [] if unlabelled else image_folder.find_scales(source, layout, label_columns)
        return _inspect(report, _decode_readable(source, layout.training.images + test_images, report), labels, scales)


def _as_it_is(image: Pixels) -> tuple[Size, Box]:
    height, width, _ = image.shape
    return Size(width, height), (0, 0, width, height)


def _check_classes(path: Path, training: Sequence[str], test: Sequence[str]) -> DataError | None:
    mismatch = find_mismatch(training, test)
    return DataError(path, mismatch) if mismatch else None


def _decode_readable(
    source: FileSource, names: list[str], report: DatasetReport
) -> Iterator[tuple[str, Picture | None]]:
    """Decode each image; yield None for one that cannot be read, after adding its error to the report."""
    for name in names:
        try:
            mode = image_files.choose_mode(image_files.read_channels(source, name), report.decoding)
            yield name, image_files.decode(source, name, mode, report.decoding)
        except DataError as error:
            report.unreadable.append(error)
            yield name, None


def _inspect(
    report: DatasetReport,
    named_images: Iterable[tuple[str, Picture | None]],
    labels: FolderLabels,
    scales: Sequence[str],
) -> Pixels | None:
    """Complete the report from the training images, and from the test images after them."""
    counts = Counter(labels.texts)
    names: list[str] = []
    places_by_digest: dict[bytes, list[int]] = {}
    sheet = ContactSheet(labels.class_names)
    for k, (name, picture) in enumerate(named_images):
        names.append(name)
        label = labels.texts[k] if labels.texts and k < report.num_images else None
        if picture is None:
            counts[label or ""] -= report.decoding.skip_damaged
            continue
        pixels = picture.pixels
        width, height = picture.original
        report.sizes[width, height, pixels.shape[2]] += 1
        report.enlarged += is_enlarged(picture.box, report.decoding)
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        places_by_digest.setdefault(digest, []).append(k)
        if k < report.num_images:
            sheet.add(pixels, label)
    report.classes = {name: counts[name] for name in labels.class_names if counts[name]}
    duplicates = [places for places in places_by_digest.values() if len(places) > 1]
    report.duplicates = [[names[k] for k in places] for places in duplicates]
    report.digests = frozenset(one for one, places in places_by_digest.items() if places[0] < report.num_images)
    are_classes = not report.continuous_label
    report.doubts = doubt_classes(report.classes, scales) if are_classes else []
    report.doubts += doubt_duplicates(duplicates, report.num_images, labels.texts if are_classes else [])
    return sheet.render()
