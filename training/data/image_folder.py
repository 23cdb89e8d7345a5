"""Read a folder or a zip of images: they become one uint8 array with labels.

The rules:
- Images are files with the suffixes of training.data.image_files, and images without a suffix. Other image formats are
  refused; all other files are listed as not used. A single folder around everything is looked into.
- Images are sorted by name, those of an imagefolder export (`train/cat/00000/12.png` with metadata.jsonl) by index.
- `train/` beside `test/` or `val/` are a split (training.data.layout).
- Labels come from a table or from class folders (training.data.folder_labels). Class names are in text order, or by
  value if every one is an integer, or in the order that the chosen columns state (training.data.labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from models.errors import DataError
from training.data.archive import FileSource, open_source
from training.data.dataset import Dataset
from training.data.decoding import AS_THEY_ARE, Decoding
from training.data.folder_labels import LABEL_NAME, UNLABELLED, FolderLabels, read_labels
from training.data.image_files import are_grey, decode_all
from training.data.label_files import LabelFiles
from training.data.labels import DEFAULT_COLUMNS, LabelColumn
from training.data.layout import Layout, Part, find_layout


class ImageFolder(NamedTuple):
    """The labels of a folder's training and test images, and the files that are not used."""

    training: FolderLabels
    test: FolderLabels
    unused: tuple[str, ...]


def read_image_folder(
    path: Path,
    label_columns: Sequence[LabelColumn] = (),
    unlabelled: bool = False,
    is_test: bool = False,
    decoding: Decoding = AS_THEY_ARE,
) -> Dataset | None:
    """Read the training or the test images of a folder or zip, in order of their names, with their labels.

    A folder and a zip with the same content give the same data set.

    Args:
        path: the folder or zip.
        label_columns: which columns of a table make the label; if given, there must be such a table.
        unlabelled: read no labels.
        is_test: read the test images.
        decoding: how the pixels are read.
    Returns: None if test images are asked for and the folder has no such split.
    Raises: DataError naming the file at fault, inside an archive as `archive.zip/inner.png`.
    """
    with open_source(path) as source:
        layout = find_layout(source)
        part = layout.test if is_test else layout.training
        if part is None:
            return None
        folder = read_all_labels(source, layout, label_columns, unlabelled)
        # Test images are grey or RGB as the training images are.
        is_grey = are_grey(source, layout.training.images, decoding)
        is_grey = is_grey and (not is_test or are_grey(source, part.images, decoding))
        pictures = decode_all(source, part.images, is_grey, decoding)
    labels = (folder.test if is_test else folder.training).take(pictures.rows)
    return Dataset(
        path.name,
        pictures.images,
        *labels.number(),
        folder.unused,
        pictures.origins,
        pictures.skipped,
        labels.factors,
    )


def read_all_labels(
    source: FileSource, layout: Layout, label_columns: Sequence[LabelColumn] = (), unlabelled: bool = False
) -> ImageFolder:
    """Read the labels of both parts, and list the files that neither they nor the images are.

    Raises: DataError naming the file at fault.
    """

    def read(part: Part | None) -> FolderLabels:
        return UNLABELLED if part is None or unlabelled else read_labels(source, layout, part, label_columns)

    training, test = read(layout.training), read(layout.test)
    unused = layout.list_unused({*training.tables, *test.tables})
    return ImageFolder(training, test, unused + training.unread)


def find_scales(source: FileSource, layout: Layout, label_columns: Sequence[LabelColumn] = ()) -> list[str]:
    """Return the columns that can be a continuous label, of the chosen ones if there are any.

    None if a table cannot be read: reading the labels tells, where they need it.
    """
    try:
        scales = LabelFiles(source, layout, layout.training).find_scales()
    except DataError:
        return []
    if LABEL_NAME in scales:
        # Beside it, `label` numbers the classes.
        scales = [scale for scale in scales if scale != DEFAULT_COLUMNS[0].column]
    chosen = {column.column.lower() for column in label_columns}
    return [scale for scale in scales if not chosen or scale.lower() in chosen]
