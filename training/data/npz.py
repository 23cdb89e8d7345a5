"""Read data sets from numpy's npz files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from models.errors import DataError
from training.data.dataset import Dataset, number_classes

KEYS = frozenset({"images", "labels", "label_names"})
# Where the images of an export come from.
ADDRESSES = "addresses"
# More classes are a mistake, such as an identifier for each image.
MAX_CLASSES = 65536


class NpzContent(NamedTuple):
    """The arrays of an npz file.

    Attributes:
        images: uint8 (N, H, W, C).
        labels: int64 (N,), or None.
        label_names: the name of each label, or None.
        unused: names of the other files inside.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...] | None
    unused: tuple[str, ...]


def read_npz_dataset(path: Path) -> Dataset:
    """Read an npz file.

    Args: path, a file with `images` uint8 (N, H, W) or (N, H, W, C), C 1 or 3, and optionally
        `labels`, integers (N,), and `label_names`, text (K,). Labels that are all -1 are none, as in exports.
    Raises: DataError for path.
    """
    content = read_npz(path)
    if content.labels is None:
        return Dataset(path.name, content.images, unused=content.unused)
    return Dataset(path.name, content.images, *number_classes(content.labels, content.label_names), content.unused)


def read_npz(path: Path) -> NpzContent:
    """Read and check the arrays of an npz file.

    Raises: DataError for path.
    """
    arrays, unused = _read_arrays(path)
    images = _check_images(path, arrays["images"])
    labels = arrays.get("labels")
    label_names = arrays.get("label_names")
    if labels is None and label_names is not None:
        raise DataError(path, "has 'label_names' but no 'labels'")
    if labels is None or (labels.shape == (len(images),) and (labels == -1).all()):
        return NpzContent(images, None, None, unused)
    _check_labels(path, len(images), labels, label_names)
    names = None if label_names is None else tuple(label_names.tolist())
    return NpzContent(images, labels.astype(np.int64), names, unused)


def _read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the known arrays by name, and the names of the other files inside."""
    try:
        # Unpickling can run code, so arrays of objects are refused.
        with path.open("rb") as file, NpzFile(file, allow_pickle=False) as archive:
            keys = sorted(archive)
            arrays = {key: np.asarray(archive[key]) for key in keys if key in KEYS}
    except MemoryError:
        raise DataError(path, "does not fit into memory; give a zip of images, which is mapped from disk") from None
    except (OSError, EOFError, ValueError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(path, f"is not a readable npz file without pickles ({error}); save it again") from None
    if "images" not in arrays:
        raise DataError(path, f"has no 'images' (found {', '.join(keys) or 'nothing'}); save np.savez(images=...)")
    return arrays, tuple(f"{key}.npy" for key in keys if key not in (*KEYS, ADDRESSES))


def _check_images(path: Path, array: NDArray[Any]) -> NDArray[np.uint8]:
    images = array[..., np.newaxis] if array.ndim == 3 else array
    if images.dtype == np.uint8 and images.ndim == 4 and 0 not in images.shape and images.shape[3] in (1, 3):
        return images
    raise DataError(
        path,
        f"has 'images' of {array.dtype} {array.shape}; they must be uint8 (N, H, W) or (N, H, W, C), C 1 or 3"
        + _images_remedy(array),
    )


def _images_remedy(array: NDArray[Any]) -> str:
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        return "; move the channels last: images.transpose(0, 2, 3, 1)"
    if array.dtype.kind == "f":
        return "; values of 0 to 1 become uint8 by (images * 255).round().astype(np.uint8)"
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        return "; values of 0 to 255 become uint8 by images.astype(np.uint8)"
    return ""


def _check_labels(path: Path, count: int, labels: NDArray[Any], label_names: NDArray[Any] | None) -> None:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            path,
            f"has 'labels' of {labels.dtype} {labels.shape} for {count} images; give integers (N,)"
            + _labels_remedy(labels, count),
        )
    if label_names is not None and not _are_distinct_texts(label_names):
        raise DataError(path, f"has 'label_names' of {label_names.dtype} {label_names.shape}; give distinct texts (K,)")
    num_classes = MAX_CLASSES if label_names is None else len(label_names)
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        row = outside[0]
        raise DataError(path, f"has label {labels[row]} at image {row}; labels must be in 0 .. {num_classes - 1}")


def _labels_remedy(labels: NDArray[Any], count: int) -> str:
    if labels.shape == (count, 1):
        return ": labels.ravel()"
    if labels.ndim == 2 and len(labels) == count:
        return "; one-hot rows become integers by labels.argmax(1)"
    if labels.shape == (count,) and labels.dtype.kind == "f":
        return ": labels.astype(int)"
    return ""


def _are_distinct_texts(label_names: NDArray[Any]) -> bool:
    is_text = label_names.ndim == 1 and label_names.dtype.kind == "U"
    return is_text and len(set(label_names.tolist())) == len(label_names)
