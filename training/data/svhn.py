"""Read SVHN's cropped digits (format 2), which are MATLAB files.

Source of the format: ufldl.stanford.edu/housenumbers. The digit 0 has the label 10.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.allocation import allocate
from training.data.archive import FileSource
from training.data.image_files import DAMAGE_ERRORS
from training.data.record_images import Records

SUFFIX = ".mat"
TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"
SIDE = 32


def is_svhn(names: Collection[str]) -> bool:
    """Tell by the names of files whether they are SVHN's."""
    return any(PurePosixPath(name).name == TRAIN for name in names)


def read_svhn(source: FileSource, is_test: bool = False) -> Records | None:
    """Read the training or the test images; their labels are the digits.

    Returns: None if there are no test images.
    Raises: DataError naming the file at fault, or that scipy is missing.
    """
    by_base = {PurePosixPath(name).name: name for name in sorted(source.names())}
    name = by_base.get(TEST if is_test else TRAIN)
    if name is None:
        return None
    unused = tuple(sorted(name for base, name in by_base.items() if base not in (TRAIN, TEST)))
    return read_mat(source, name)._replace(unused=unused)


def read_mat(source: FileSource, name: str) -> Records:
    """Read one of SVHN's files: `X`, uint8 (32, 32, 3, n), and `y`, (n, 1), from 1 to 10.

    Raises: DataError for the file, or that scipy is missing.
    """
    path = source.path / name
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise DataError(path, "needs scipy: pip install '.[mat]' (in the checkout)") from None
    try:
        with source.open(name) as file:
            arrays = loadmat(file, variable_names=["X", "y"])
    except (*DAMAGE_ERRORS, MatReadError, zlib.error) as error:
        raise DataError(path, f"is not a readable MATLAB file ({error}); fetch it again") from None
    pixels, labels = (np.asarray(arrays.get(key)) for key in ("X", "y"))
    if not _are_svhns(pixels, labels):
        raise DataError(
            path,
            "has no X of 32x32 RGB images with a y from 1 to 10 for each, as SVHN's cropped digits have; read it with "
            "scipy.io.loadmat and save an npz",
        )
    images = allocate((len(labels), SIDE, SIDE, 3), path)
    np.copyto(images, pixels.transpose(3, 0, 1, 2))
    return Records(images, {"label": labels.reshape(-1).astype(np.int64) % 10}, {"label": []}, ())


def _are_svhns(pixels: NDArray[np.generic], labels: NDArray[np.generic]) -> bool:
    count = pixels.shape[-1] if pixels.ndim == 4 else 0
    if not count or pixels.shape != (SIDE, SIDE, 3, count) or labels.shape != (count, 1):
        return False
    return bool(pixels.dtype == np.uint8 and labels.dtype.kind in "iuf" and np.isin(labels, np.arange(1, 11)).all())
