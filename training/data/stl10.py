"""Read STL-10's binary version, with its images without labels.

Source of the format: cs.stanford.edu/~acoates/stl10. Pixels are stored column by column, labels begin at 1.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

import numpy as np

from models.errors import DataError
from training.data.archive import FileSource
from training.data.image_files import read_bytes
from training.data.record_images import Records, planes_to_images, read_records

SIDE = 96
PIXEL_BYTES = 3 * SIDE * SIDE
TRAIN, TEST, UNLABELLED, NAMES = "train", "test", "unlabeled_X.bin", "class_names.txt"


def is_stl10(names: Collection[str]) -> bool:
    """Tell by the names of files whether they are STL-10's."""
    return bool({"train_X.bin", UNLABELLED} & {PurePosixPath(name).name for name in names})


def read_stl10(source: FileSource, is_test: bool = False, unlabelled: bool = False) -> Records | None:
    """Read the training or the test images.

    Without labels, training has those of `unlabeled_X.bin` as well, after the others.

    Returns: None if there are no test images.
    Raises: DataError naming the file at fault.
    """
    names = source.names()
    by_base = {PurePosixPath(name).name: name for name in sorted(names)}
    split = TEST if is_test else TRAIN
    images, labels = (by_base.get(f"{split}_{kind}.bin") for kind in "Xy")
    if is_test and images is None:
        return None
    with_others = UNLABELLED in by_base and not is_test and (unlabelled or images is None)
    files = [*([images] if images else []), *([by_base[UNLABELLED]] if with_others else [])]
    planes = [read_records(source, name, PIXEL_BYTES) for name in files]
    pixels = planes_to_images(source.path, planes, (SIDE, SIDE), columns_first=True)
    used = {f"{split}_{kind}.bin" for split in (TRAIN, TEST) for kind in "Xy"}
    used |= {NAMES, UNLABELLED} if with_others else {NAMES}
    unused = tuple(sorted(name for base, name in by_base.items() if base not in used))
    if unlabelled or with_others or labels is None:
        return Records(pixels, {}, {}, unused)
    numbers = np.frombuffer(read_bytes(source, labels), np.uint8).astype(np.int64)
    if len(numbers) != len(pixels) or not numbers.all():
        raise DataError(source.path / labels, f"has no label from 1 to 255 for each of the {len(pixels)} images")
    class_names = read_bytes(source, by_base[NAMES]).decode("utf-8", "replace").split() if NAMES in by_base else []
    return Records(pixels, {"label": numbers}, {"label": ["", *class_names] if class_names else []}, unused)
