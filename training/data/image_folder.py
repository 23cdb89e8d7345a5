"""Read image files: a folder or a zip of them becomes one uint8 array with labels.

The rules:
- Images are the .png, .jpg, .jpeg, .webp and .bmp files. Hidden files are skipped, other files are
  ignored, other image formats are refused. A single folder around everything is looked into.
- Labels come from `labels.csv` inside or a csv of the same name beside, else from class sub-folders,
  else there are none. Class names are in text order, or by value if every one is an integer, or in
  the order that the chosen columns state (training.data.labels).
- Bilevel and grey files make a grey set if all files are grey; else all become RGB, palettes too. An
  alpha channel is dropped if it is opaque and refused if it is not. 16-bit grey, float, CMYK and
  animations are refused; Pillow itself keeps the upper 8 bits of 16-bit RGB. EXIF rotation is applied.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.errors import DataError
from training.data.allocation import allocate
from training.data.archive import FileSource, open_source
from training.data.dataset import Dataset
from training.data.labels import DEFAULT_COLUMNS, LabelColumn, derive_class_names, read_label_rows, sort_labels

LABELS_CSV = "labels.csv"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
REFUSED_SUFFIXES = frozenset({".gif", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".jp2", ".ppm", ".pgm", ".tga"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"RGB", "RGBA", "P", "PA"})
# What Pillow and zipfile were observed to raise on damaged files.
DAMAGE_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


class TextLabels(NamedTuple):
    """The label of each image as text, and the classes in order."""

    texts: list[str]
    class_names: tuple[str, ...]


class _Csv(NamedTuple):
    """A labels csv: its path and its bytes."""

    path: Path
    content: bytes


def read_image_folder(path: Path, label_columns: Sequence[LabelColumn] = ()) -> Dataset:
    """Read the images of a folder or zip, sorted by name, with their labels.

    A folder and a zip with the same content give the same data set.

    Args:
        path: the folder or zip.
        label_columns: which columns of the csv make the label; if given, there must be a csv.
    Raises: DataError naming the file at fault, inside an archive as `archive.zip/inner.png`.
    """
    with open_source(path) as source:
        names = list_images(source)
        labels = read_labels(source, names, label_columns)
        images = _decode_all(source, names)
    if labels is None:
        return Dataset(path.name, images)
    ids = {name: k for k, name in enumerate(labels.class_names)}
    return Dataset(path.name, images, np.array([ids[text] for text in labels.texts], np.int64), labels.class_names)


def list_images(source: FileSource) -> list[str]:
    """List the names of the images, sorted; at least one.

    Raises: DataError.
    """
    names = sorted(name for name in _visible_names(source) if _is_image(source.path / name))
    if not names:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise DataError(source.path, f"holds no images ({suffixes}); give the folder or zip that does")
    return names


def read_labels(source: FileSource, images: list[str], label_columns: Sequence[LabelColumn] = ()) -> TextLabels | None:
    """Read the label of each image by the rules above; None if there are no labels.

    Raises: DataError naming the file at fault.
    """
    tables = [name for name in _visible_names(source) if name.split("/")[-1] == LABELS_CSV]
    prefix = _common_folder(images + tables)
    table = _find_csv(source, prefix, tables)
    if table is not None:
        columns = label_columns or DEFAULT_COLUMNS
        rows = _labels_by_csv(source, prefix, images, table, columns)
        return TextLabels([" ".join(row) for row in rows], derive_class_names(columns, rows))
    if label_columns:
        headings = ", ".join(repr(column.column) for column in label_columns)
        raise DataError(
            source.path,
            f"has no csv with the columns {headings}, neither {LABELS_CSV} inside nor {source.csv_beside.name} "
            "beside; add it, or use the folders as labels with --set data.label_columns=[]",
        )
    folders = _labels_by_folder(source, prefix, images)
    return None if folders is None else TextLabels(folders, sort_labels(folders))


def _visible_names(source: FileSource) -> list[str]:
    return [name for name in source.names() if not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in REFUSED_SUFFIXES:
        raise DataError(path, f"is a {suffix} image, which is not supported; convert it to .png or remove it")
    return suffix in SUFFIXES


def _common_folder(names: Sequence[str]) -> str:
    """Return the folder that holds everything as a prefix: "", or "faces/" if a zip wraps everything in one."""
    prefix = ""
    while names:
        heads = {name[len(prefix) :].partition("/")[::2] for name in names}
        folders = {folder for folder, _ in heads}
        if len(folders) > 1 or not all(rest for _, rest in heads):
            break
        prefix += folders.pop() + "/"
    return prefix


def _find_csv(source: FileSource, prefix: str, tables: list[str]) -> _Csv | None:
    if prefix + LABELS_CSV in tables:
        return _Csv(source.path / (prefix + LABELS_CSV), _read_bytes(source, prefix + LABELS_CSV))
    if not source.csv_beside.is_file():
        return None
    try:
        return _Csv(source.csv_beside, source.csv_beside.read_bytes())
    except OSError as error:
        raise DataError(source.csv_beside, f"cannot be read: {error.strerror}") from None


def _labels_by_folder(source: FileSource, prefix: str, images: list[str]) -> list[str] | None:
    depths = {name: name[len(prefix) :].count("/") for name in images}
    first = images[0]
    for name, depth in depths.items():
        if depth > 1:
            raise DataError(source.path / name, "is too deep; put images directly into one folder per class")
        if depth != depths[first]:
            raise DataError(
                source.path / name,
                f"and {first} are not at the same depth; put all images into class folders, or none",
            )
    if depths[first] == 0:
        return None
    return [name.split("/")[-2] for name in images]


def _labels_by_csv(
    source: FileSource, prefix: str, images: list[str], table: _Csv, columns: Sequence[LabelColumn]
) -> list[tuple[str, ...]]:
    names_of: dict[str, tuple[str, ...]] = {}
    known = set(images)
    for row in read_label_rows(table.path, table.content, columns):
        image = prefix + row.file
        if image in names_of:
            raise DataError(table.path, f"lists {row.file!r} again on line {row.line}; keep one row per image")
        if image not in known:
            raise DataError(
                source.path / image,
                f"is listed in {table.path.name}, line {row.line}, but missing; add it or drop the row",
            )
        names_of[image] = row.names
    for image in images:
        if image not in names_of:
            raise DataError(source.path / image, f"has no row in {table.path.name}; add one or remove the image")
    return [names_of[image] for image in images]


def _decode_all(source: FileSource, names: list[str]) -> NDArray[np.uint8]:
    """Decode to uint8 (N, H, W, C) in two passes: headers decide grey or RGB, so that one array can be filled."""
    mode = "L" if {read_channels(source, name) for name in names} == {1} else "RGB"
    first = decode(source, names[0], mode)
    images = allocate((len(names), *first.shape), source.path)
    images[0] = first
    for k, name in enumerate(names[1:], start=1):
        pixels = decode(source, name, mode)
        if pixels.shape != first.shape:
            (height, width), (first_height, first_width) = pixels.shape[:2], first.shape[:2]
            raise DataError(
                source.path / name,
                f"is {width}x{height} pixels, but {names[0]} is {first_width}x{first_height}; make all one size",
            )
        images[k] = pixels
    return images


def read_channels(source: FileSource, name: str) -> int:
    """Read an image's header and return its channels: 1 for grey, 3 for colour.

    Raises: DataError for the image.
    """
    try:
        with source.open(name) as file, Image.open(file, formats=FORMATS) as image:
            mode = image.mode
            # A JPEG may carry a preview as a second image, which is not an animation.
            frames = getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1
    except DAMAGE_ERRORS as error:
        raise _damage_error(source.path / name, error) from None
    if mode not in GREY_MODES | COLOUR_MODES:
        raise DataError(source.path / name, f"has pixels of kind {mode!r}; convert it to 8-bit grey or RGB")
    if frames > 1:
        raise DataError(source.path / name, f"is an animation of {frames} frames; keep one")
    return 1 if mode in GREY_MODES else 3


def decode(source: FileSource, name: str, mode: str) -> NDArray[np.uint8]:
    """Decode one image to uint8 (H, W, C), in mode "L" or "RGB".

    Raises: DataError for the image.
    """
    try:
        # Reading to the end makes zipfile check the member's CRC.
        with Image.open(io.BytesIO(_read_bytes(source, name)), formats=FORMATS) as image:
            upright: Any = ImageOps.exif_transpose(image)
            is_transparent = False
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                is_transparent = upright.getchannel("A").getextrema()[0] < 255
            pixels = np.asarray(upright.convert(mode))
    except DAMAGE_ERRORS as error:
        raise _damage_error(source.path / name, error) from None
    if is_transparent:
        raise DataError(source.path / name, "is partly transparent; put it on a background first")
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _read_bytes(source: FileSource, name: str) -> bytes:
    try:
        with source.open(name) as file:
            return file.read()
    except DAMAGE_ERRORS as error:
        raise _damage_error(source.path / name, error) from None


def _damage_error(path: Path, error: BaseException) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    # Pillow names the stream that it was given, which does not help the user.
    reason = "no image of a known format" if "cannot identify" in reason else reason
    return DataError(path, f"cannot be read ({reason}); replace it or remove it")
