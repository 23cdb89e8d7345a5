"""Write a data set as PNG files of one size: StyleGAN's numbered folders, with Hugging Face's metadata beside them.

`metadata.jsonl` says of each image its class, and what it was made from.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, FileError
from models.files import sync_folder
from models.images import to_picture
from training.data.dataset import Dataset

METADATA = "metadata.jsonl"
# So many images are in a folder, as StyleGAN's dataset_tool.py has it.
IMAGES_PER_FOLDER = 1000


def check_destination(source: Path, folder: Path) -> None:
    """Check that a set can be written to a folder: it is not there, or empty, and not inside what is read.

    Raises: FileError for the folder.
    """
    if folder.resolve().is_relative_to(source.resolve()):
        raise FileError(folder, f"lies in {source}, and would become part of it; choose another DEST")
    try:
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise FileError(folder, "is there already; give a DEST that is not, or an empty folder")
    except OSError as error:
        raise _write_error(folder, error) from None


def write_prepared(folder: Path, training: Dataset, test: Dataset | None = None) -> None:
    """Write images to a folder, whole or not at all; those of two splits to `train/` and `test/` inside.

    Read with `load_dataset`, the folder gives the same digest.

    Args:
        folder: one that `check_destination` finds good.
        training, test: sets of images. The labels of the test images are those of the training images.
    Raises: DataError for test images of other classes; FileError for the folder.
    """
    parts = {"": training}
    if test is not None:
        if not set(test.class_names) <= set(training.class_names):
            raise DataError(Path(test.name), "has test images of classes that no training image has")
        parts = {"train": training, "test": test.with_classes(training.class_names)}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            for name, dataset in parts.items():
                _write_part(draft / name, dataset)
            # Once for thousands of small files: an fsync of each takes longer than writing them.
            os.sync()
            # mkdtemp lets only its owner in.
            draft.chmod(0o755)
            draft.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise _write_error(folder, error) from None


def encode_plain_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode uint8 (H, W, C) without marks; models.images would mark it as synthetic, but training data is real."""
    buffer = io.BytesIO()
    to_picture(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write_part(folder: Path, dataset: Dataset) -> None:
    for k, pixels in enumerate(np.asarray(dataset.images, np.uint8)):
        path = folder / _name_file(k)
        if k % IMAGES_PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(encode_plain_png(pixels))
    with (folder / METADATA).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in _list_rows(dataset))


def _name_file(k: int) -> str:
    return f"{k // IMAGES_PER_FOLDER:05d}/img{k:08d}.png"


def _list_rows(dataset: Dataset) -> Iterator[dict[str, object]]:
    """Say of each image where it lies, its class (null without labels), and which part of which image it was."""
    _, height, width = dataset.shape
    origins = dataset.origins
    for k in range(len(dataset)):
        label = None if dataset.labels is None else int(dataset.labels[k])
        yield {
            "file_name": _name_file(k),
            "label": label,
            "label_name": None if label is None else dataset.class_names[label],
            "source": origins.names[k] if origins else f"image {k}",
            "box": origins.boxes[k].tolist() if origins else [0, 0, width, height],
        }


def _write_error(folder: Path, error: OSError) -> FileError:
    return FileError(folder, f"cannot be written: {error.strerror or error}; choose another DEST")
